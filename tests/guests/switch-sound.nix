# Pairs whose machines have sound and nobody's desktop; the form is that of switch.nix.
# Most are switched from what audio.nix has anyway, a PipeWire and a PulseAudio as the manual has them.
{ mkGuest, packages }:
let
  inherit (packages) sw;
  inherit (import ./guest.nix packages) recursiveUpdate;

  alice = { isNormalUser = true; uid = 1000; extraGroups = [ "wheel" ]; initialPassword = "alice"; description = "Alice"; };
  # to FROM NAME EXPECT CONFIG: under FROM's host name, as one machine's generation.
  to = switchFrom: name: expect: config: {
    inherit name;
    value = {
      expect = { inherit switchFrom; slow = true; } // expect;
      machine = mkGuest { inherit name; config = recursiveUpdate { networking.hostName = switchFrom; users.users.alice = alice; } config; };
    };
  };
  pipewire = recursiveUpdate {
    services.pipewire = { enable = true; audio.enable = true; pulse.enable = true; alsa.enable = true; };
    security.rtkit.enable = true;
  };
  once = name: expect: config: {
    inherit name;
    value = {
      expect = { slow = true; } // expect;
      machine = mkGuest {
        inherit name;
        config = recursiveUpdate (pipewire {
          networking.hostName = "machine";
          users.users.alice = alice;
          systemd.user.services.pipewire.preStart = "mkdir \"$XDG_RUNTIME_DIR/pipewire-session\"";
        }) config;
      };
    };
  };
in
builtins.listToAttrs [
  # The seed's question, done right: one is off, the other on, and what plays by PulseAudio's protocol goes on playing.
  (to "pulse" "switch-pulse-to-pipewire" { exit = 0; } (pipewire { hardware.alsa.enablePersistence = true; }))
  # Done by half: PulseAudio is gone, and nothing tells PipeWire of the card.
  (to "pulse" "switch-pulse-to-half" { exit = 1; fails = [ "switch.session-survived" "audio.server" "audio.sink" ]; cause = [ "wireplumber.service" ]; phase = "switched"; } (pipewire {
    hardware.alsa.enablePersistence = true;
    systemd.user.services.wireplumber.enable = false;
  }))
  # The unit changed, so it is stopped and its socket bound anew (507588); whoever plays next starts it.
  (to "audio" "switch-pipewire-restarts" { exit = 0; } (pipewire { systemd.user.services.pipewire.environment.PIPEWIRE_DEBUG = "2"; }))
  # It may start once in a session, which is enough until its unit changes. The switch says 0: only the socket was started.
  (once "switch-sound" { exit = 0; } { })
  (once "switch-pipewire-killed" { switchFrom = "switch-sound"; exit = 1; fails = [ "switch.session-survived" "audio.server" ]; cause = [ "pipewire.service" "pipewire-session" ]; phase = "switched"; } {
    systemd.user.services.pipewire.environment.PIPEWIRE_DEBUG = "2";
  })
  # It goes on with what it was started with, as its unit says.
  (to "audio" "switch-user-service-stale" { exit = 0; warns = [ "switch.stale" ]; cause = [ "pipewire.service" ]; } (pipewire {
    systemd.user.services.pipewire = { restartIfChanged = false; environment.PIPEWIRE_DEBUG = "2"; };
  }))
]
