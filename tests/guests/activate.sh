#!@sw@/bin/bash
# The activation script: snippets, as in nixos/modules/system/activation/activation-script.nix, with the same
# words when one fails.
systemConfig=@systemConfig@
export PATH=@sw@/bin
umask 0022
_status=0
trap "_status=1 _localstatus=\$?" ERR

@snippets@

@current@
exit $_status
