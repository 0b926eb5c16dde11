# The machine of the set `gnome`, which is large and slow. The form is that of machines.nix.
{ mkGuest, packages }:
let
  inherit (import ./seat.nix { inherit mkGuest packages; }) guest seated on;
in
builtins.listToAttrs [
  (guest "gnome" { exit = 0; slow = true; } (
    on seated {
      services = {
        desktopManager.gnome.enable = true;
        displayManager = { gdm.enable = true; autoLogin = { enable = true; user = "alice"; }; };
      };
      virtualisation = { memorySize = 3072; cores = 2; };
    }
  ))
]
