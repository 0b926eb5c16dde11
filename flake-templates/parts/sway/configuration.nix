# <head/>
{ lib, pkgs, ... }:
{
  networking.hostName = "@name@";

  # Brings a terminal (foot: Super+Return), a launcher (Super+D), a screen lock and what its default configuration runs.
  programs.sway = {
    enable = true;
    wrapperFeatures.gtk = true;
  };

  # A text login screen, which starts it.
  services.greetd = {
    enable = true;
    useTextGreeter = true;
    settings.default_session.command = "${lib.getExe pkgs.tuigreet} --time --remember --cmd sway";
  };

  # <desktop/>

  # <user/>

  # <disk/>

  # For the VM only.
  virtualisation.vmVariant = {
    virtualisation = {
      memorySize = 2048; # MiB
      cores = 2;
      # <wayland/>
    };
    # The VM has no GPU, and Sway renders in software only where that is allowed.
    programs.sway.extraSessionCommands = "export WLR_RENDERER_ALLOW_SOFTWARE=1";
  };

  # <release/>
}
