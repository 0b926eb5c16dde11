# What NixOS's modules for sound make of their options (services/desktops/pipewire, services/audio/pulseaudio,
# security/rtkit, security/polkit): a function from a description to what is laid under it. It has to be
# taken as it is there: a description that enables PipeWire gets exactly the units, links and files of /etc that
# NixOS would give it.
{ dist, sw }:
let
  inherit (builtins) attrNames concatStringsSep filter listToAttrs map toJSON;
  when = cond: value: if cond then value else { };
  merge = builtins.foldl' recursive { };
  # Lists are joined, as in NixOS.
  recursive =
    a: b:
    a
    // builtins.mapAttrs (
      n: v:
      if a ? ${n} && builtins.isAttrs v && builtins.isAttrs a.${n} then recursive a.${n} v
      else if a ? ${n} && builtins.isList v && builtins.isList a.${n} then a.${n} ++ v
      else v
    ) b;
in
cfg:
let
  pw = cfg.services.pipewire;
  # NixOS moved it in 25.05; both names are read, as there.
  pulse = cfg.services.pulseaudio.enable or false || cfg.hardware.pulseaudio.enable or false;
  pulseSystemWide = cfg.services.pulseaudio.systemWide or false;
  persistence = cfg.hardware.alsa.enablePersistence or false;
  rtkit = cfg.security.rtkit.enable or pulse;
  polkit = cfg.security.polkit.enable or rtkit;

  # extraConfig.KIND.NAME = { … } becomes /etc/pipewire/KIND.conf.d/NAME.conf; the configuration is JSON.
  dropIns = kind: prefix: files: listToAttrs (
    map (n: {
      name = "${prefix}/${kind}.conf.d/${n}.conf";
      value.text = toJSON files.${n};
    }) (attrNames files)
  );

  # What both managers get: the same units, to be wanted by the same targets.
  pipewireSockets = {
    pipewire.wantedBy = if pw.socketActivation or true then [ "sockets.target" ] else [ ];
  };
  pipewireServices = {
    pipewire.wantedBy = if pw.socketActivation or true then [ ] else [ "default.target" ];
  }
  // when (pw.wireplumber.enable or true) {
    wireplumber = { wantedBy = [ "pipewire.service" ]; aliases = [ "pipewire-session-manager.service" ]; };
  };
  pulseSocket = when (pw.pulse.enable or false) {
    pipewire-pulse.wantedBy = if pw.socketActivation or true then [ "sockets.target" ] else [ ];
  };
  pulseService = when (pw.pulse.enable or false) {
    pipewire-pulse.wantedBy = if pw.socketActivation or true then [ ] else [ "default.target" ];
  };
in
merge [
  (when pw.enable (merge [
    {
      systemd.upstreamUserUnits = [ "pipewire.service" "pipewire.socket" "pipewire-pulse.service" "pipewire-pulse.socket" "filter-chain.service" ]
        ++ (if pw.wireplumber.enable or true then [ "wireplumber.service" "wireplumber@.service" ] else [ ]);
      # What is not wanted is masked.
      systemd.user.services.pipewire-pulse.enable = pw.pulse.enable or false;
      systemd.user.sockets.pipewire-pulse.enable = pw.pulse.enable or false;
      environment.etc =
        builtins.foldl' (a: b: a // b) { } (
          map (kind: dropIns kind "pipewire" (pw.extraConfig.${kind} or { })) [ "pipewire" "client" "pipewire-pulse" "jack" ]
        )
        // dropIns "wireplumber" "wireplumber" (pw.wireplumber.extraConfig or { });
    }
    # ALSA's programs reach the server by the plugin that Debian can install beside PulseAudio; NixOS has
    # PipeWire's own here, under the same file's name.
    (when (pw.alsa.enable or false) {
      environment.etc."alsa/conf.d/99-pipewire-default.conf".text = "pcm.!default { type pulse }\nctl.!default { type pulse }";
    })
    (when (!(pw.systemWide or false)) {
      systemd.user.sockets = pipewireSockets;
      systemd.user.services = pipewireServices;
    })
    # These are a user's in both cases.
    { systemd.user.sockets = pulseSocket; systemd.user.services = pulseService; }
    # NixOS writes these units itself, as system units that run as the user pipewire.
    (when (pw.systemWide or false) {
      systemd.user.services = { pipewire.enable = false; wireplumber.enable = false; };
      systemd.user.sockets.pipewire.enable = false;
      users.users.pipewire = { uid = 323; group = "pipewire"; extraGroups = [ "audio" "video" ]; isSystemUser = true; description = "PipeWire system service user"; home = "/var/lib/pipewire"; createHome = true; };
      users.groups.pipewire.gid = 323;
      systemd.sockets.pipewire = {
        description = "PipeWire Multimedia System Socket";
        wantedBy = [ "sockets.target" ];
        listenStreams = [ "/run/pipewire/pipewire-0" "/run/pipewire/pipewire-0-manager" ];
        socketConfig = { SocketUser = "pipewire"; SocketGroup = "pipewire"; SocketMode = "0660"; };
      };
      systemd.services.pipewire = {
        description = "PipeWire Multimedia Service";
        requires = [ "pipewire.socket" ];
        environment.PIPEWIRE_RUNTIME_DIR = "/run/pipewire";
        serviceConfig = { ExecStart = "${sw}/bin/pipewire"; User = "pipewire"; RuntimeDirectory = "pipewire"; RuntimeDirectoryPreserve = "yes"; Restart = "on-failure"; AmbientCapabilities = "CAP_SYS_NICE"; };
      };
      systemd.services.wireplumber = {
        description = "Multimedia Service Session Manager";
        after = [ "pipewire.service" "dbus.service" ];
        bindsTo = [ "pipewire.service" ];
        wantedBy = [ "pipewire.service" ];
        environment = { PIPEWIRE_RUNTIME_DIR = "/run/pipewire"; DBUS_SESSION_BUS_ADDRESS = "unix:path=/run/dbus/system_bus_socket"; XDG_STATE_HOME = "/var/lib/wireplumber"; };
        serviceConfig = { ExecStart = "${sw}/bin/wireplumber --profile=main-systemwide"; User = "pipewire"; StateDirectory = "wireplumber"; Restart = "on-failure"; };
      };
    })
  ]))

  (when pulse (merge [
    {
      environment.etc = {
        "pulse/client.conf".text = "autospawn=no";
        "pulse/daemon.conf".text = concatStringsSep "\n" (
          map (n: "${n}=${toString cfg.services.pulseaudio.daemon.config.${n}}") (attrNames (cfg.services.pulseaudio.daemon.config or { }))
        );
        "pulse/default.pa".source = cfg.services.pulseaudio.configFile or "${dist}/etc/pulse/default.pa";
        "asound.conf".text = "pcm.!default { type pulse }\nctl.!default { type pulse }";
      };
    }
    (when (!pulseSystemWide) {
      systemd.upstreamUserUnits = [ "pulseaudio.service" "pulseaudio.socket" ];
      systemd.user.sockets.pulseaudio.wantedBy = [ "sockets.target" ];
      systemd.user.services.pulseaudio.serviceConfig.RestartSec = "500ms";
    })
    (when pulseSystemWide {
      users.users.pulse = { uid = 22; group = "pulse"; extraGroups = [ "audio" ]; isSystemUser = true; description = "PulseAudio system service user"; home = "/run/pulse"; createHome = true; };
      users.groups.pulse.gid = 22;
      users.groups.pulse-access.gid = 23;
      environment.etc."pulse/system.pa".source = "${dist}/etc/pulse/system.pa";
      systemd.services.pulseaudio = {
        description = "PulseAudio System-Wide Server";
        wantedBy = [ "sound.target" ];
        before = [ "sound.target" ];
        environment.PULSE_RUNTIME_PATH = "/run/pulse";
        serviceConfig = { Type = "notify"; ExecStart = "${sw}/bin/pulseaudio --daemonize=no --log-level=info --system -n --file=/etc/pulse/system.pa"; Restart = "on-failure"; RestartSec = "500ms"; };
      };
    })
  ]))

  # The card's own mixer starts as the driver leaves it, unless its state is kept. Debian's rule for that is for
  # Debian (its file of this name would be read otherwise).
  (when (pw.enable || pulse || persistence) {
    environment.etc."udev/rules.d/90-alsa-restore.rules".text =
      if persistence then
        ''ACTION=="add", SUBSYSTEM=="sound", KERNEL=="controlC*", KERNELS!="card*", RUN+="${sw}/bin/alsactl restore -gU $attr{device/number}"''
      else
        "";
  })
  (when persistence {
    # alsactl's locks are there; NixOS has all of systemd's legacy.conf.
    environment.etc."tmpfiles.d/legacy.conf".text = "d /run/lock 0755 root root -\nL /var/lock - - - - ../run/lock";
    systemd.services.alsa-store = {
      description = "Store Sound Card State";
      wantedBy = [ "multi-user.target" ];
      # 2: neither a card nor a state yet; the rule above does it when the card comes.
      unitConfig = { RequiresMountsFor = "/var/lib/alsa"; };
      serviceConfig = { Type = "oneshot"; RemainAfterExit = true; StateDirectory = "alsa"; SuccessExitStatus = "0 2 99"; ExecStart = "${sw}/bin/alsactl restore -gU"; ExecStop = "${sw}/bin/alsactl store -gU"; };
    };
  })

  (when rtkit {
    systemd.upstreamSystemUnits = [ "rtkit-daemon.service" ];
    users.users.rtkit = { uid = 45; group = "rtkit"; isSystemUser = true; description = "RealtimeKit daemon"; };
    users.groups.rtkit.gid = 45;
  })

  (when polkit {
    systemd.upstreamSystemUnits = [ "polkit.service" ];
    users.users.polkitd = { uid = 28; group = "polkitd"; isSystemUser = true; description = "PolKit daemon"; };
    users.groups.polkitd.gid = 28;
  })
]
