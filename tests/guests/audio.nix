# The machines of the set `audio`: sound in a user's session, no desktop. The form is that of machines.nix.
#
# Nobody logs in unless it says so: a machine is judged in a session that nixbox starts for alice, who is not in the
# group audio, as logind gives the card to whom sits at the seat.
{ mkGuest, packages }:
let
  inherit (packages) dist sw run;
  inherit (builtins) listToAttrs;

  guest = name: expect: description: {
    inherit name;
    value = {
      inherit expect;
      machine = mkGuest ({ inherit name; } // description);
    };
  };

  merge =
    a: b:
    a // builtins.mapAttrs (n: v: if builtins.isAttrs v && !(v ? type && v.type == "derivation") && a ? ${n} && builtins.isAttrs a.${n} then merge a.${n} v else v) b;

  alice = { isNormalUser = true; uid = 1000; extraGroups = [ "wheel" ]; initialPassword = "alice"; description = "Alice"; };
  autologin = { services.getty.autologinUser = "alice"; virtualisation.graphics = true; };

  # PipeWire as the manual has it, with CONFIG laid over.
  pipewire = config: {
    config = merge {
      services.pipewire = { enable = true; audio.enable = true; pulse.enable = true; alsa.enable = true; };
      security.rtkit.enable = true;
      users.users.alice = alice;
    } config;
  };
  pulse = config: { config = merge { services.pulseaudio.enable = true; hardware.alsa.enablePersistence = true; users.users.alice = alice; } config; };

  # What a user's session does at its start: the session is up when it is done.
  atLogin = name: description: script: {
    systemd.user.services.${name} = {
      inherit description script;
      wantedBy = [ "default.target" ];
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
    };
  };
  # Beside a server, for as long as it runs.
  beside = server: name: description: script: {
    systemd.user.services.${name} = {
      inherit description script;
      wantedBy = [ server ];
      bindsTo = [ server ];
      after = [ server ];
    };
  };
  # Until the server has a sink (its name) that is not the fallback.
  untilSink = ''until pactl get-default-sink 2>/dev/null | grep -q ^alsa_output; do sleep 0.2; done'';

  untilSource = ''until pactl get-default-source 2>/dev/null | grep -q ^alsa_input; do sleep 0.2; done'';

  # A card of the runner's own.
  card = codec: { virtualisation.qemu.options = [ "-audiodev none,id=theirs" "-device ich9-intel-hda" "-device ${codec}" ]; };

  # Which profile WirePlumber gives to a card: the first of these that the card has.
  profiles = names: {
    services.pipewire.wireplumber.extraConfig."51-profiles"."device.profile.priority.rules" = [
      { matches = [ { "device.name" = "~alsa_card.*"; } ]; actions.update-props.priorities = names; }
    ];
  };

  # PulseAudio into a pipe, and a player that is told RATE of samples that are 48000 a second: the pipe is
  # drained at the player's pace, so nothing is lost and everything is slower. Multi-room setups are made so.
  piped = rate: merge {
    services.pulseaudio.configFile = builtins.toFile "default.pa" ''
      .fail
      load-module module-native-protocol-unix
      load-module module-pipe-sink sink_name=speakers file=/run/user/1000/speakers format=s16le rate=48000 channels=2
      set-default-sink speakers
      load-module module-alsa-source source_name=microphone device=hw:0
      set-default-source microphone
    '';
  } (beside "pulseaudio.service" "speakers" "Plays what comes through the pipe" ''
    until [ -p /run/user/1000/speakers ]; do sleep 0.1; done
    exec aplay -q -D plughw:0 -t raw -f S16_LE -c 2 -r ${toString rate} /run/user/1000/speakers
  '');

  # Those of the short run: one that works of each server, and one that breaks of each check.
  core = [ "audio" "pulse" "audio-left-only" ];

  healthy = [
    # PipeWire, and nobody logs in.
    (guest "audio" { exit = 0; } (pipewire { }))
    # The user of the test is there already.
    (guest "audio-autologin" { exit = 0; } (pipewire autologin))
    # The sandbox's serial console, which the real machine has not, logs in first: rtkit serves who sits at the seat.
    (guest "trap-audio-serial-login" { exit = 0; notTested = [ "audio.realtime" ]; } (pipewire (merge autologin {
      systemd.services.before-tty1 = {
        description = "Holds up the login on the first terminal";
        script = "until loginctl list-sessions --no-legend | grep -q alice; do sleep 0.5; done";
        wantedBy = [ "getty.target" ];
        before = [ "getty@tty1.service" "autovt@tty1.service" ];
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
      };
    })))
    # A box without a seat's user: lingering, and in the group of the devices.
    (guest "audio-linger" { exit = 0; } (pipewire { users.users.alice = { linger = true; extraGroups = [ "audio" ]; }; }))
    (guest "audio-system-wide" { exit = 0; } (pipewire { services.pipewire = { systemWide = true; pulse.enable = false; }; users.users.alice.extraGroups = [ "pipewire" ]; }))
    (guest "pulse" { exit = 0; } (pulse { }))
    # One PulseAudio for all, PID 1's.
    (guest "pulse-system-wide" { exit = 0; } (pulse { services.pulseaudio.systemWide = true; users.users.alice.extraGroups = [ "pulse-access" ]; }))
    # The runner brings a card by name: its output is captured.
    (guest "audio-named-card" { exit = 0; } (pipewire (card "hda-duplex,id=speakers,audiodev=theirs")))
  ];

  # From PulseAudio to PipeWire, tried beside what is: both are specialisations of a machine that goes on as it was.
  moving = [
    {
      name = "audio-moving";
      value = {
        expect = { exit = 0; };
        machine = mkGuest {
          name = "audio-moving";
          inherit (pulse { }) config;
          specialisations = {
            pipewire = (pipewire { services.pulseaudio.enable = false; }).config;
            no-session-manager = (pipewire { services.pulseaudio.enable = false; systemd.user.services.wireplumber.enable = false; }).config;
          };
        };
      };
    }
    { name = "audio-moving@pipewire"; value.expect = { exit = 0; }; }
    { name = "audio-moving@no-session-manager"; value.expect = { exit = 1; fails = [ "audio.server" "audio.sink" ]; cause = [ "wireplumber.service" ]; }; }
  ];

  traps = [
    # The runner brings a card that cannot be captured: what it plays goes where the runner says.
    (guest "trap-audio-own-card" { exit = 0; notTested = [ "audio.tone" "audio.microphone" ]; cause = [ "without an id" ]; } (
      pipewire (card "hda-duplex,audiodev=theirs")
    ))
    # Whoever mutes the microphone means it.
    (guest "trap-microphone-muted" { exit = 0; warns = [ "audio.microphone" ]; cause = [ "muted" ]; } (pipewire (
      atLogin "private" "Nobody listens" "${untilSource}\nwpctl set-mute @DEFAULT_AUDIO_SOURCE@ 1"
    )))
    # The kernel has no driver for the card that is offered: the configuration was not made for this machine.
    (guest "trap-audio-no-driver" { exit = 0; notTested = [ "audio.sink" "audio.tone" ]; } (pipewire {
      environment.etc."modprobe.d/nixos.conf".text = "blacklist snd_hda_intel";
    }))
    # PipeWire is told that it is on no virtual machine: so short a buffer that every hiccup of the host is heard.
    (guest "trap-audio-xruns" { exit = 0; } (pipewire {
      services.pipewire.extraConfig.pipewire."92-low-latency" = {
        "context.properties" = { "default.clock.quantum" = 128; "default.clock.min-quantum" = 64; "default.clock.max-quantum" = 256; };
        "context.properties.rules" = [ { matches = [ { "cpu.vm.name" = "!null"; } ]; actions.update-props."default.clock.min-quantum" = 64; } ];
      };
    }))
    # As declared on a real machine, and not so here: PipeWire raises the least quantum on a virtual machine.
    (guest "trap-audio-vm-quantum" { exit = 0; } (pipewire {
      services.pipewire.extraConfig.pipewire."92-low-latency"."context.properties" = { "default.clock.quantum" = 256; "default.clock.min-quantum" = 256; };
    }))
    # A new card is silent until somebody turns it up, and PulseAudio believes the card. On a disk that is new too
    # nobody has: nothing is broken.
    (guest "trap-pulse-new-card" { exit = 0; warns = [ "audio.sink" ]; cause = [ "muted" ]; } (pulse { hardware.alsa.enablePersistence = false; }))
    # omacom/omarchy#9390: nothing promises realtime, and nothing is wrong to be heard on an idle machine.
    (guest "trap-audio-no-rtkit" { exit = 0; notTested = [ "audio.realtime" ]; } (pipewire { security.rtkit.enable = false; }))
  ];

  # Nothing that plays.
  servers = [
    # The variable names another user's number than alice has.
    (guest "audio-pulse-server" { exit = 1; fails = [ "audio.server" ]; cause = "PULSE_SERVER sends programs to unix:/run/user/1000/pulse/native, where there is no socket"; } (pipewire {
      users.users.alice.uid = 1001;
      environment.sessionVariables.PULSE_SERVER = "unix:/run/user/1000/pulse/native";
      environment.etc."pam/environment".text = "PULSE_SERVER DEFAULT=\"unix:/run/user/1000/pulse/native\"";
    }))
    # NixOS/nixpkgs#115492: a file of the configuration asks for what this version does not have.
    (guest "audio-config-loop" { exit = 1; fails = [ "audio.server" ]; cause = [ "pipewire.service" "libpipewire-module-media-session" ]; } (pipewire {
      services.pipewire.extraConfig.pipewire."10-session"."context.modules" = [ { name = "libpipewire-module-media-session"; } ];
    }))
    # Running, and never answers.
    (guest "audio-server-hangs" { exit = 1; fails = [ "audio.server" ]; cause = [ "pipewire.service" ]; } (pipewire (
      beside "pipewire.service" "hang" "Stops the server" "systemctl --user kill --signal=STOP pipewire.service"
    )))
    # NixOS/nixpkgs#402999
    (guest "audio-no-session-manager" { exit = 1; fails = [ "audio.server" "audio.sink" ]; cause = [ "wireplumber.service" ]; } (pipewire {
      systemd.user.services.wireplumber.enable = false;
    }))
    # PulseAudio's clients cannot connect.
    (guest "audio-no-pulse-socket" { exit = 1; fails = [ "audio.server" ]; cause = [ "pipewire-pulse.socket" ]; } (pipewire {
      systemd.user.sockets.pipewire-pulse.enable = false;
    }))
    # NixOS/nixpkgs#187226: a unit left in the home from long ago is nearer than the system's.
    (guest "audio-stale-home-unit" { exit = 1; fails = [ "audio.server" ]; cause = [ "pipewire-pulse.service" "/home/alice/.config/systemd/user" ]; } (pipewire {
      system.activationScripts.home = ''
        mkdir -p /home/alice/.config/systemd/user
        printf '[Unit]\nDescription=PipeWire PulseAudio\n[Service]\nExecStart=/nix/store/00000000000000000000000000000000-pipewire-0.3.30/bin/pipewire-pulse\n' > /home/alice/.config/systemd/user/pipewire-pulse.service
        chown -R 1000:100 /home/alice/.config
      '';
    }))
    # NixOS/nixpkgs#315344: PulseAudio's unit is started where PipeWire's is to be, and dies.
    (guest "audio-pulseaudio-beside-pipewire" { exit = 1; fails = [ "audio.server" ]; cause = [ "pulseaudio.service" ]; } (pipewire {
      systemd.upstreamUserUnits = [ "pulseaudio.service" "pulseaudio.socket" ];
      systemd.user.services.pulseaudio.wantedBy = [ "default.target" ];
      systemd.user.sockets.pipewire-pulse.wantedBy = [ ];
      environment.etc."pulse/default.pa".text = "# nothing";
    }))
    # Each takes the card from the other.
    (guest "audio-both-servers" { exit = 1; fails = [ "audio.server" ]; cause = [ "pulseaudio" "pipewire" ]; } (pipewire {
      services.pipewire = { pulse.enable = false; alsa.enable = false; };
      services.pulseaudio.enable = true;
      systemd.user.services.pulseaudio.wantedBy = [ "default.target" ];
      systemd.user.services.pipewire.wantedBy = [ "default.target" ];
    }))
    # Somebody else's server has the card, and plays silence on it without end. Two users' servers and sessions that start
    # at once race for rtkit, which is another matter.
    (guest "audio-wrong-user" { exit = 1; fails = [ "audio.sink" ]; cause = [ "bob" ]; } (pipewire (merge autologin {
      security.rtkit.enable = false;
      users.users.bob = { isNormalUser = true; uid = 1001; extraGroups = [ "audio" ]; initialPassword = "bob"; linger = true; };
      systemd.user.services.radio = {
        description = "Plays all day";
        unitConfig.ConditionUser = "bob";
        wantedBy = [ "default.target" ];
        script = "${untilSink}\nexec pacat /dev/zero";
      };
      # The machine is not up before he is at it.
      systemd.services.radio-plays = {
        description = "Waits until the radio plays";
        wantedBy = [ "multi-user.target" ];
        before = [ "multi-user.target" ];
        serviceConfig = { Type = "oneshot"; RemainAfterExit = true; };
        script = "until grep -q RUNNING /proc/asound/card0/pcm*p/sub*/status; do sleep 0.2; done";
      };
    })))
    # One server for all, that alice may not speak to.
    (guest "audio-system-wide-denied" { exit = 1; fails = [ "audio.server" ]; cause = [ "alice" "pipewire" ]; } (pipewire {
      services.pipewire = { systemWide = true; pulse.enable = false; };
    }))
    # NixOS/nixpkgs#176484
    (guest "audio-system-wide-state" { exit = 1; fails = [ "services.failed-units" "audio.server" "audio.sink" ]; cause = [ "wireplumber.service" "/var/empty" ]; } (pipewire {
      services.pipewire = { systemWide = true; pulse.enable = false; };
      users.users.alice.extraGroups = [ "pipewire" ];
      systemd.services.wireplumber = {
        preStart = "mkdir -p $XDG_STATE_HOME";
        environment = { HOME = "/var/empty"; XDG_STATE_HOME = "/var/empty/.local/state/wireplumber"; };
        wantedBy = [ "multi-user.target" ];
      };
    }))
  ];

  sinks = [
    # Jovian-Experiments/Jovian-NixOS#88: the card is there, and off.
    (guest "audio-profile-off" { exit = 1; fails = [ "audio.sink" ]; cause = [ "off" "alsa_card" ]; } (pipewire (profiles [ "off" ])))
    # As seen on NixOS/nixpkgs#300281, which no virtual machine can show: the meter moves, and nobody hears it.
    (guest "audio-null-sink" { exit = 1; fails = [ "audio.sink" ]; cause = [ "speakers" ]; } (pipewire {
      services.pipewire.extraConfig.pipewire."20-speakers"."context.objects" = [
        {
          factory = "adapter";
          args = { "factory.name" = "support.null-audio-sink"; "node.name" = "speakers"; "node.description" = "Speakers"; "media.class" = "Audio/Sink"; "audio.position" = "FL,FR"; "priority.session" = 5000; "priority.driver" = 5000; };
        }
      ];
    }))
    # The devices are another group's, and logind is told to leave them alone.
    (guest "audio-denied" { exit = 1; fails = [ "audio.sink" ]; cause = [ "alice" "/dev/snd" ]; } (pipewire {
      environment.etc."udev/rules.d/72-local.rules".text = ''SUBSYSTEM=="sound", TAG-="uaccess", GROUP="disk"'';
    }))
    (guest "audio-muted" { exit = 1; fails = [ "audio.sink" ]; cause = [ "muted" ]; } (pipewire (
      atLogin "quiet" "Silent at login" "${untilSink}\nuntil wpctl set-mute @DEFAULT_AUDIO_SINK@ 1; do sleep 0.2; done"
    )))
    (guest "audio-zero-volume" { exit = 1; fails = [ "audio.sink" ]; cause = [ "volume" ]; } (pipewire {
      services.pipewire.wireplumber.extraConfig."51-volume"."wireplumber.settings"."device.routes.default-sink-volume" = 0.0;
    }))
    (guest "pulse-muted" { exit = 1; fails = [ "audio.sink" ]; cause = [ "muted" ]; } (pulse (
      atLogin "quiet" "Silent at login" "${untilSink}\npactl set-sink-mute @DEFAULT_SINK@ 1"
    )))
    # PulseAudio's own fallback, as it may load nothing that finds cards.
    (guest "pulse-null" { exit = 1; fails = [ "audio.sink" ]; cause = [ "auto_null" ]; } (pulse {
      services.pulseaudio.configFile = builtins.toFile "default.pa" "load-module module-native-protocol-unix\nload-module module-always-sink\n";
    }))
  ];

  tones = [
    # The server thinks that all is well: the card's own switch is off, and it was told to leave it alone.
    (guest "audio-hardware-muted" { exit = 1; fails = [ "audio.tone" ]; cause = [ "Master" ]; } (pipewire (merge {
      services.pipewire.wireplumber.extraConfig."51-mixer"."monitor.alsa.rules" = [
        { matches = [ { "device.name" = "~alsa_card.*"; } ]; actions.update-props."api.alsa.soft-mixer" = true; }
      ];
    } (atLogin "mixer" "Sets the card's mixer" "${untilSink}\namixer -q -c 0 set Capture 80% cap\namixer -q -c 0 set Master mute"))))
    (guest "audio-left-only" { exit = 1; fails = [ "audio.tone" ]; cause = [ "right" ]; } (pipewire (
      atLogin "balance" "Sets the balance" "${untilSink}\npactl set-sink-volume @DEFAULT_SINK@ 40% 0%"
    )))
    # The server is stopped for half of the time that something plays.
    (guest "audio-dropouts" { exit = 1; fails = [ "audio.tone" ]; cause = [ "dropout" ]; } (pipewire (
      beside "pipewire.service" "stall" "Stops the server again and again" ''
        while sleep 0.1; do
          while pgrep -x 'pw-play|paplay' >/dev/null; do
            systemctl --user kill --signal=STOP pipewire.service
            sleep 0.9
            systemctl --user kill --signal=CONT pipewire.service
            sleep 0.3
          done
        done
      ''
    )))
    # nix-community/home-manager#2529: its socket starts the server, and this program asks at a port that is there only
    # then.
    (guest "pulse-asked-too-early" { exit = 1; fails = [ "audio.tone" ]; cause = [ "mpd.service" "refused" ]; } (pulse (merge {
      services.pulseaudio.configFile = builtins.toFile "default.pa" ''
        .fail
        load-module module-udev-detect
        load-module module-native-protocol-unix
        load-module module-native-protocol-tcp auth-ip-acl=127.0.0.1
      '';
    } (atLogin "mpd" "Music Player Daemon" ''
      pactl --server=tcp:127.0.0.1:4713 info >/dev/null 2>&1 ||
        echo 'output: Failed to open "My Output" (pulse); failed to connect: Connection refused'
    ''))))
    # A rate that is not the samples' own.
    (guest "pulse-pitch" { exit = 1; fails = [ "audio.tone" ]; cause = [ "pitch" ]; } (pulse (piped 44100)))
    (guest "pulse-half-speed" { exit = 1; fails = [ "audio.tone" ]; cause = [ "speed" ]; } (pulse (piped 24000)))
  ];

  microphones = [
    # The card is used one way only.
    (guest "audio-no-source" { exit = 1; fails = [ "audio.microphone" ]; cause = [ "output:analog-stereo" ]; } (pipewire (profiles [ "output:analog-stereo" ])))
    # The server thinks that all is well: the card's own switch for recording is off.
    (guest "audio-microphone-silent" { exit = 1; fails = [ "audio.microphone" ]; cause = [ "silence" ]; } (pipewire (merge {
      services.pipewire.wireplumber.extraConfig."51-mixer"."monitor.alsa.rules" = [
        { matches = [ { "device.name" = "~alsa_card.*"; } ]; actions.update-props."api.alsa.soft-mixer" = true; }
      ];
    } (atLogin "mixer" "Sets the card's mixer" "${untilSource}\namixer -q -c 0 set Master 80% unmute\namixer -q -c 0 set Capture nocap"))))
  ];

  others = [
    # Promised, and not to be had.
    (guest "audio-no-rtkit" { exit = 1; fails = [ "audio.realtime" ]; cause = [ "rtkit-daemon.service" ]; } (pipewire {
      systemd.services.rtkit-daemon.enable = false;
    }))
    # PipeWire reads default.clock.quantum; this it does not know.
    (guest "audio-quantum-ignored" { exit = 1; fails = [ "audio.realtime" ]; cause = [ "clock.quantum" "2048" ]; } (pipewire {
      services.pipewire.extraConfig.pipewire."92-quantum"."context.properties"."clock.quantum" = 2048;
    }))
    # Without quotes it is a set in sets, which PipeWire does not read.
    (guest "audio-rate-nested" { exit = 1; fails = [ "audio.realtime" ]; cause = [ "default.clock.rate" "44100" ]; } (pipewire {
      services.pipewire.extraConfig.pipewire."92-rate"."context.properties".default.clock.rate = 44100;
    }))
  ];
in
builtins.mapAttrs (name: guest: guest // { expect = guest.expect // { slow = !(builtins.elem name core); }; }) (
  listToAttrs (healthy ++ moving ++ traps ++ servers ++ sinks ++ tones ++ microphones ++ others)
)
