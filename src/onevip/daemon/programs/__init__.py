"""The programs that a configuration names: fallbackcommand, callback, execute.

They run beside the checks, limited in time and in what they may say; what becomes of them is
logged.
"""

from onevip.daemon.programs.callback import Callback
from onevip.daemon.programs.fallback_commands import FallbackCommands
from onevip.daemon.programs.instances import Instances

__all__ = ["Callback", "FallbackCommands", "Instances"]
