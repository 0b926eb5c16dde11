# <head/>
{ lib, pkgs, ... }:
{
  networking.hostName = "@name@";

  programs.hyprland.enable = true;

  # A text login screen, which starts it.
  services.greetd = {
    enable = true;
    useTextGreeter = true;
    settings.default_session.command = "${lib.getExe pkgs.tuigreet} --time --remember --cmd start-hyprland";
  };

  # The terminal of Hyprland's default configuration: Super+Q.
  environment.systemPackages = [ pkgs.kitty ];
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
