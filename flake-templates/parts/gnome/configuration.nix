# <head/>
{ lib, pkgs, ... }:
{
  networking.hostName = "@name@";

  # The login screen and the desktop. What else GNOME enables is listed under `services.gnome`.
  services.displayManager.gdm.enable = true;
  services.desktopManager.gnome.enable = true;

  # <desktop/>

  # <user/>

  # <disk/>

  # For the VM only.
  virtualisation.vmVariant = {
    virtualisation = {
      memorySize = 4096; # MiB
      cores = 2;
      # <wayland/>
    };
  };

  # <release/>
}
