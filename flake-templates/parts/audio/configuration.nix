# <head/>
{ pkgs, ... }:
{
  networking.hostName = "@name@";

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

  # <user/>

  # <disk/>

  # For the VM only.
  virtualisation.vmVariant = {
    virtualisation = {
      memorySize = 1024; # MiB
      cores = 2;
    };
    # PipeWire runs in a user's session: the VM starts one at boot.
    services.getty.autologinUser = "alice";
  };

  # <release/>
}
