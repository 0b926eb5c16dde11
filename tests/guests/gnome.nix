# The machine of the set `gnome`, which is large and slow. The form is that of machines.nix.
{ mkGuest, packages }:
let
  inherit (import ./seat.nix { inherit mkGuest packages; }) guest screen on;
in
builtins.listToAttrs [
  (guest "gnome" { exit = 0; slow = true; } (
    on screen {
      services = {
        desktopManager.gnome.enable = true;
        displayManager = { gdm.enable = true; autoLogin = { enable = true; user = "alice"; }; };
      };
      # Without hardware virtualisation the card may be found later than GDM waits for it (5 s); it would try X then.
      systemd.services.display-manager.preStart = "udevadm wait --timeout=60 /dev/dri/card0";
      virtualisation = { memorySize = 3072; cores = 2; };
    }
  ))
]
