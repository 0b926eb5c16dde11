# <head/>
{ ... }:
{
  networking.hostName = "@name@";

  # Xfce runs on the X server; LightDM is its login screen.
  services.xserver = {
    enable = true;
    displayManager.lightdm.enable = true;
    desktopManager.xfce.enable = true;
  };

  # <desktop/>

  # <user/>

  # <disk/>

  # For the VM only.
  virtualisation.vmVariant = {
    virtualisation = {
      memorySize = 2048; # MiB
      cores = 2;
    };
  };

  # <release/>
}
