# As nixos/modules/system/activation/switchable-system.nix has it: what was to stay as it is has changed.
case ${2-} in
boot | dry-activate)
  echo "Not checking switch inhibitors (action = $2)"
  exit
  ;;
esac
echo -n "Checking switch inhibitors..."
# What has only strings for values, without quotes in them.
read_inhibitors() {
  local -n found=$1
  local text=
  if [ -e "$2" ]; then text=$(<"$2"); fi
  while [[ $text =~ \"([^\"]*)\":\"([^\"]*)\"(.*) ]]; do
    found[${BASH_REMATCH[1]}]=${BASH_REMATCH[2]}
    text=${BASH_REMATCH[3]}
  done
}
declare -A was=() is=()
read_inhibitors was /run/current-system/switch-inhibitors
read_inhibitors is "${1-}/switch-inhibitors"
changed=
for name in "${!was[@]}"; do
  if [ -n "${is[$name]+x}" ] && [ "${was[$name]}" != "${is[$name]}" ]; then changed+="$name : ${was[$name]} -> ${is[$name]}"$'\n'; fi
done
if [ -z "$changed" ]; then
  echo " done"
  exit
fi
cat <<TEXT

There are changes to critical components of the system:

${changed%$'\n'}

Switching into this system is not recommended.
You probably want to run 'nixos-rebuild boot' and reboot your system instead.

If you really want to switch into this configuration directly, then
you can set NIXOS_NO_CHECK=1 to ignore pre-switch checks.

WARNING: doing so might cause the switch to fail or your system to become unstable.

TEXT
exit 1
