# The machine. Every option is described at https://search.nixos.org/options; after a change, `./vm` starts the machine
# in a VM and `nixbox try .#vm` checks that it still works.
{ pkgs, ... }:
{
  networking.hostName = "audio";

  # rtkit gives PipeWire real-time priority: without it, sound crackles on a busy machine.
  security.rtkit.enable = true;

  services.pipewire = {
    enable = true;

    # ALSA, PulseAudio and JACK programs all play through PipeWire.
    alsa = {
      enable = true;
      support32Bit = pkgs.stdenv.hostPlatform.isx86_64; # games
    };
    pulse.enable = true;
    jack.enable = true;

    # The session manager: selects the card, sets the volume and routes the streams.
    wireplumber = {
      enable = true;
      extraConfig."10-awake"."monitor.alsa.rules" = [
        {
          matches = [ { "node.name" = "~alsa_output.*"; } ];
          # A card that was suspended swallows the beginning of the next sound.
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
      # Frames per cycle: fewer means less latency, more means fewer dropouts. 1024 at 48000 Hz are 21 ms.
      "default.clock.quantum" = 1024;
      "default.clock.min-quantum" = 64;
    };
  };

  # pw-top and wpctl come with PipeWire; these add pactl, aplay, amixer and speaker-test.
  environment.systemPackages = [
    pkgs.pulseaudio
    pkgs.alsa-utils
  ];

  # Your user. The password is valid until the first `passwd`; anyone can read it here: change it on a real computer.
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

  # The disk of the real computer; the VM has its own. Replace this with what `nixos-generate-config
  # --show-hardware-config` prints on that computer.
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

  # For the VM only.
  virtualisation.vmVariant = {
    virtualisation = {
      memorySize = 1024; # MiB
      cores = 2;
    };
    # PipeWire runs in a user's session: the VM starts one at boot.
    services.getty.autologinUser = "alice";
  };

  # The release that this machine was installed with: programs keep the data formats of that release. Do not raise it
  # with nixpkgs.
  system.stateVersion = "26.05";
}
