// SPDX-License-Identifier: GPL-2.0-only
/* frozen_tc.c - the tc door under the test's clock. */
#include "clock.h"

#include "tc.bpf.c"
