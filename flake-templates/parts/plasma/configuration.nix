# <head/>
{ lib, pkgs, ... }:
{
  networking.hostName = "@name@";

  # The login screen, itself on Wayland so that no X server is needed, and the desktop.
  services.displayManager.sddm = {
    enable = true;
    wayland.enable = true;
  };
  services.desktopManager.plasma6.enable = true;

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
