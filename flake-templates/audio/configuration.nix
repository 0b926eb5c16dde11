# The machine. Every option is described at https://search.nixos.org/options; after a change, `./vm` shows the machine
# and `nixbox try` says whether it still works.
{ pkgs, ... }:
{
  networking.hostName = "audio";

  # rtkit gives sound the priority that it asks for: without it, a busy machine crackles.
  security.rtkit.enable = true;

  services.pipewire = {
    enable = true;

    # Whatever a program speaks ends up in the same place.
    alsa = {
      enable = true;
      support32Bit = pkgs.stdenv.hostPlatform.isx86_64; # games
    };
    pulse.enable = true;
    jack.enable = true;

    # The session manager: which card is used, how loud, and where a stream goes.
    wireplumber = {
      enable = true;
      extraConfig."10-awake"."monitor.alsa.rules" = [
        {
          matches = [ { "node.name" = "~alsa_output.*"; } ];
          # A card that falls asleep after a pause swallows the beginning of the next sound.
          actions.update-props."session.suspend-timeout-seconds" = 0;
        }
      ];
    };

    # Each name becomes a file in /etc/pipewire/pipewire.conf.d.
    extraConfig.pipewire."10-clock"."context.properties" = {
      "default.clock.rate" = 48000;
      "default.clock.allowed-rates" = [
        44100
        48000
        96000
      ];
      # Frames at a time: fewer is prompter, more is safer. 1024 at 48000 Hz are 21 ms.
      "default.clock.quantum" = 1024;
      "default.clock.min-quantum" = 64;
    };
  };

  # pw-top and wpctl come with PipeWire; these are pactl, and aplay, amixer and speaker-test.
  environment.systemPackages = [
    pkgs.pulseaudio
    pkgs.alsa-utils
  ];

  # You. The password holds until the first `passwd`; everybody can read it here, so change it on a real computer.
  users.users.alice = {
    isNormalUser = true;
    description = "Alice";
    extraGroups = [
      "wheel" # sudo
      "networkmanager"
    ];
    initialPassword = "nixos";
  };
  networking.networkmanager.enable = true;

  # The real computer's disk, which the virtual machine replaces. On that computer `nixos-generate-config
  # --show-hardware-config` prints what belongs here instead.
  boot.loader.systemd-boot.enable = true;
  boot.loader.efi.canTouchEfiVariables = true;
  fileSystems."/" = {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };
  fileSystems."/boot" = {
    device = "/dev/disk/by-label/BOOT";
    fsType = "vfat";
  };

  # Of the virtual machine only.
  virtualisation.vmVariant = {
    virtualisation = {
      memorySize = 1024; # MiB
      cores = 2;
    };
    # Sound lives in a user's session: in the virtual machine there is one at once.
    services.getty.autologinUser = "alice";
  };

  # The release that this machine began with: it says which format its data have, and stays when nixpkgs moves on.
  system.stateVersion = "26.05";
}
