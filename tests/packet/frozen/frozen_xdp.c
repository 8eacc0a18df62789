// SPDX-License-Identifier: GPL-2.0-only
/* frozen_xdp.c - the xdp door under the test's clock. */
#include "clock.h"

#include "xdp.bpf.c"
