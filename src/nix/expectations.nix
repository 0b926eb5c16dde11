# What a configuration expects, as plain data: `config` -> `host` -> Expectations (src/nix/expectations.rs, same names).
# `config` is what the VM is made of; `host` the configuration of the real machine, of which the disks are read.
#
# Nothing here may stop the run: each option is read by itself, one that throws is named in `unread`, one that is
# missing is left at its default. Options are projected to strings, numbers and booleans before they are forced,
# since packages among them would be forced without end. Passwords are read here and never leave nix.
config: host:
let
  inherit (builtins)
    all any attrNames attrValues concatLists concatMap deepSeq elem elemAt filter foldl' fromJSON genList head isAttrs
    isBool isInt isList isString length listToAttrs map mapAttrs match split substring tail toString tryEval
    unsafeDiscardStringContext;

  # --- where it is read ---

  # Every option that is read, each as a list: its name, then the names that it had. The newest name that is there is
  # read and no other: an old one answers the same, and has nix print that it is obsolete. What each expects, and in
  # which release a name changed, is in docs/expectations.md; a unit test holds that page and this set together.
  names = {
    hostName = [ "networking.hostName" ];
    domain = [ "networking.domain" ];
    interfaces = [ "networking.interfaces" ];
    bridges = [ "networking.bridges" ];
    bonds = [ "networking.bonds" ];
    vlans = [ "networking.vlans" ];
    gateway = [ "networking.defaultGateway" ];
    wireguard = [ "networking.wireguard.interfaces" ];
    wgQuick = [ "networking.wg-quick.interfaces" ];
    networkd = {
      enable = [ "systemd.network.enable" ];
      networks = [ "systemd.network.networks" ];
    };
    firewall = [ "networking.firewall.enable" ];
    openTcp = [ "networking.firewall.allowedTCPPorts" ];
    openUdp = [ "networking.firewall.allowedUDPPorts" ];
    openTcpRanges = [ "networking.firewall.allowedTCPPortRanges" ];
    openUdpRanges = [ "networking.firewall.allowedUDPPortRanges" ];
    openOf = [ "networking.firewall.interfaces" ];

    units = {
      services = [ "systemd.services" ];
      sockets = [ "systemd.sockets" ];
      timers = [ "systemd.timers" ];
      targets = [ "systemd.targets" ];
      paths = [ "systemd.paths" ];
    };
    mounts = [ "systemd.mounts" ];
    userUnits = {
      services = [ "systemd.user.services" ];
      sockets = [ "systemd.user.sockets" ];
      timers = [ "systemd.user.timers" ];
      targets = [ "systemd.user.targets" ];
      paths = [ "systemd.user.paths" ];
    };
    homes = [ "home-manager.users" ];

    fileSystems = [ "fileSystems" ];
    luks = [ "boot.initrd.luks.devices" ];
    pools = [ "boot.zfs.extraPools" ];
    persistence = [ "environment.persistence" ];
    secrets = {
      sops = [ "sops.secrets" ];
      age = [ "age.secrets" ];
      deployment = [ "deployment.keys" ];
    };

    users = [ "users.users" ];
    groups = [ "users.groups" ];
    mutableUsers = [ "users.mutableUsers" ];
    allowNoPasswordLogin = [ "users.allowNoPasswordLogin" ];
    consoleLogin = [ "services.getty.autologinUser" ];

    memory = [ "virtualisation.memorySize" ];
    cores = [ "virtualisation.cores" ];
    disk = [ "virtualisation.diskSize" ];
    nixosInit = [ "system.nixos-init.enable" ];

    openssh = {
      enable = [ "services.openssh.enable" ];
      ports = [ "services.openssh.ports" ];
      addresses = [ "services.openssh.listenAddresses" ];
    };
    nginx = {
      enable = [ "services.nginx.enable" ];
      hosts = [ "services.nginx.virtualHosts" ];
      listen = [ "services.nginx.defaultListen" ];
      addresses = [ "services.nginx.defaultListenAddresses" ];
      http = [ "services.nginx.defaultHTTPListenPort" ];
      https = [ "services.nginx.defaultSSLListenPort" ];
      own = [ "services.nginx.config" ];
      ownHttp = [ "services.nginx.httpConfig" ];
    };
    caddy = {
      enable = [ "services.caddy.enable" ];
      hosts = [ "services.caddy.virtualHosts" ];
      http = [ "services.caddy.httpPort" ];
      https = [ "services.caddy.httpsPort" ];
      global = [ "services.caddy.globalConfig" ];
      settings = [ "services.caddy.settings" ];
    };
    httpd = {
      enable = [ "services.httpd.enable" ];
      hosts = [ "services.httpd.virtualHosts" ];
    };
    postgresql = {
      enable = [ "services.postgresql.enable" ];
      port = [ "services.postgresql.settings.port" "services.postgresql.port" ];
      addresses = [ "services.postgresql.settings.listen_addresses" ];
    };
    mysql = {
      enable = [ "services.mysql.enable" ];
      mysqld = [ "services.mysql.settings.mysqld" ];
    };
    redis = [ "services.redis.servers" ];
    memcached = {
      enable = [ "services.memcached.enable" ];
      port = [ "services.memcached.port" ];
      socket = [ "services.memcached.enableUnixSocket" ];
    };
    printing = {
      enable = [ "services.printing.enable" ];
      addresses = [ "services.printing.listenAddresses" ];
    };
    grafana = {
      enable = [ "services.grafana.enable" ];
      port = [ "services.grafana.settings.server.http_port" ];
      protocol = [ "services.grafana.settings.server.protocol" ];
    };
    prometheus = {
      enable = [ "services.prometheus.enable" ];
      port = [ "services.prometheus.port" ];
    };
    nodeExporter = {
      enable = [ "services.prometheus.exporters.node.enable" ];
      port = [ "services.prometheus.exporters.node.port" ];
    };
    gitea = {
      enable = [ "services.gitea.enable" ];
      port = [ "services.gitea.settings.server.HTTP_PORT" ];
      protocol = [ "services.gitea.settings.server.PROTOCOL" ];
    };
    forgejo = {
      enable = [ "services.forgejo.enable" ];
      port = [ "services.forgejo.settings.server.HTTP_PORT" ];
      protocol = [ "services.forgejo.settings.server.PROTOCOL" ];
    };

    # Of several the first is the one: some are greetd with a greeter of their own, and enable it.
    displayManagers = [
      {
        name = "gdm";
        enable = [ "services.displayManager.gdm.enable" "services.xserver.displayManager.gdm.enable" ];
        wayland = [ "services.displayManager.gdm.wayland" "services.xserver.displayManager.gdm.wayland" ];
      }
      {
        name = "sddm";
        enable = [ "services.displayManager.sddm.enable" "services.xserver.displayManager.sddm.enable" ];
        greeterOnWayland =
          [ "services.displayManager.sddm.wayland.enable" "services.xserver.displayManager.sddm.wayland.enable" ];
      }
      { name = "plasma-login-manager"; enable = [ "services.displayManager.plasma-login-manager.enable" ]; }
      { name = "cosmic-greeter"; enable = [ "services.displayManager.cosmic-greeter.enable" ]; }
      { name = "ly"; enable = [ "services.displayManager.ly.enable" ]; }
      { name = "lemurs"; enable = [ "services.displayManager.lemurs.enable" ]; }
      { name = "lightdm"; enable = [ "services.xserver.displayManager.lightdm.enable" ]; }
      { name = "greetd"; inherit (names.greetd) enable; }
    ];
    greetd = {
      enable = [ "services.greetd.enable" ];
      initial_session = {
        user = [ "services.greetd.settings.initial_session.user" ];
        command = [ "services.greetd.settings.initial_session.command" ];
      };
      default_session = {
        user = [ "services.greetd.settings.default_session.user" ];
        command = [ "services.greetd.settings.default_session.command" ];
      };
    };
    autoLogin = {
      enable = [ "services.displayManager.autoLogin.enable" "services.xserver.displayManager.autoLogin.enable" ];
      user = [ "services.displayManager.autoLogin.user" "services.xserver.displayManager.autoLogin.user" ];
    };
    defaultSession = [ "services.displayManager.defaultSession" "services.xserver.displayManager.defaultSession" ];
    sessions = [ "services.displayManager.sessionData" "services.xserver.displayManager.sessionData" ];
    xserver = {
      enable = [ "services.xserver.enable" ];
      program = [ "services.xserver.displayManager.xserverBin" ];
      arguments = [ "services.xserver.displayManager.xserverArgs" ];
    };

    # `type` is that of the session, null where it has both or had in a release. `removed`: NixOS has the option for its
    # message only.
    desktops = [
      {
        name = "gnome";
        type = "wayland";
        enable = [ "services.desktopManager.gnome.enable" "services.xserver.desktopManager.gnome.enable" ];
      }
      {
        name = "plasma";
        type = "wayland";
        enable = [ "services.desktopManager.plasma6.enable" "services.xserver.desktopManager.plasma6.enable" ];
      }
      { name = "plasma"; type = null; enable = [ "services.xserver.desktopManager.plasma5.enable" ]; removed = true; }
      { name = "cosmic"; type = "wayland"; enable = [ "services.desktopManager.cosmic.enable" ]; }
      {
        name = "budgie";
        type = null;
        enable = [ "services.desktopManager.budgie.enable" "services.xserver.desktopManager.budgie.enable" ];
      }
      {
        name = "pantheon";
        type = null;
        enable = [ "services.desktopManager.pantheon.enable" "services.xserver.desktopManager.pantheon.enable" ];
      }
      { name = "xfce"; type = null; enable = [ "services.xserver.desktopManager.xfce.enable" ]; }
      { name = "mate"; type = null; enable = [ "services.xserver.desktopManager.mate.enable" ]; }
      { name = "cinnamon"; type = null; enable = [ "services.xserver.desktopManager.cinnamon.enable" ]; }
      { name = "lxqt"; type = null; enable = [ "services.xserver.desktopManager.lxqt.enable" ]; }
      { name = "deepin"; type = "x11"; enable = [ "services.xserver.desktopManager.deepin.enable" ]; removed = true; }
      { name = "enlightenment"; type = null; enable = [ "services.xserver.desktopManager.enlightenment.enable" ]; }
      { name = "lumina"; type = "x11"; enable = [ "services.xserver.desktopManager.lumina.enable" ]; }
      { name = "sway"; type = "wayland"; enable = [ "programs.sway.enable" ]; }
      { name = "hyprland"; type = "wayland"; enable = [ "programs.hyprland.enable" ]; }
      { name = "niri"; type = "wayland"; enable = [ "programs.niri.enable" ]; }
      { name = "river"; type = "wayland"; enable = [ "programs.river-classic.enable" "programs.river.enable" ]; }
      { name = "labwc"; type = "wayland"; enable = [ "programs.labwc.enable" ]; }
      { name = "wayfire"; type = "wayland"; enable = [ "programs.wayfire.enable" ]; }
      { name = "miracle-wm"; type = "wayland"; enable = [ "programs.wayland.miracle-wm.enable" ]; }
      { name = "cardboard"; type = "wayland"; enable = [ "programs.cardboard.enable" ]; removed = true; }
      { name = "mango"; type = "wayland"; enable = [ "programs.mango.enable" "programs.mangowc.enable" ]; }
      { name = "dwl"; type = "wayland"; enable = [ "programs.dwl.enable" ]; }
    ];
    windowManagers = [
      [ "services.xserver.windowManager.awesome.enable" ] [ "services.xserver.windowManager.bspwm.enable" ]
      [ "services.xserver.windowManager.cwm.enable" ] [ "services.xserver.windowManager.dwm.enable" ]
      [ "services.xserver.windowManager.fluxbox.enable" ] [ "services.xserver.windowManager.fvwm3.enable" ]
      [ "services.xserver.windowManager.herbstluftwm.enable" ] [ "services.xserver.windowManager.i3.enable" ]
      [ "services.xserver.windowManager.icewm.enable" ] [ "services.xserver.windowManager.jwm.enable" ]
      [ "services.xserver.windowManager.leftwm.enable" ] [ "services.xserver.windowManager.openbox.enable" ]
      [ "services.xserver.windowManager.qtile.enable" ] [ "services.xserver.windowManager.ratpoison.enable" ]
      [ "services.xserver.windowManager.spectrwm.enable" ] [ "services.xserver.windowManager.stumpwm.enable" ]
      [ "services.xserver.windowManager.twm.enable" ] [ "services.xserver.windowManager.xmonad.enable" ]
    ];
    portal = [ "xdg.portal.enable" ];
    xwayland = [ "programs.xwayland.enable" ];

    pipewire = {
      enable = [ "services.pipewire.enable" ];
      sound = [ "services.pipewire.audio.enable" ];
      pulse = [ "services.pipewire.pulse.enable" ];
      wireplumber = [ "services.pipewire.wireplumber.enable" ];
      systemWide = [ "services.pipewire.systemWide" ];
      files = [ "services.pipewire.extraConfig.pipewire" ];
    };
    pulseaudio = {
      enable = [ "services.pulseaudio.enable" "hardware.pulseaudio.enable" ];
      systemWide = [ "services.pulseaudio.systemWide" "hardware.pulseaudio.systemWide" ];
    };
    rtkit = [ "security.rtkit.enable" ];
    alsaPersistence = [ "hardware.alsa.enablePersistence" "sound.enable" ];
  };

  attempt = fallback: value:
    let tried = tryEval (deepSeq value value);
    in if tried.success then tried.value else fallback;

  # The value at a path, or null where any step is missing. May throw: only use inside `attempt`.
  at = within config;
  within = root: path: foldl' (set: name: if isAttrs set && set ? ${name} then set.${name} else null) root path;
  # The path of one of `names`: the newest that is there, and what comes after it is not looked at. What throws on the
  # way there is there: reading it will tell.
  pathOf = option:
    let
      path = filter isString (split "\\." (head option));
      parent = at (genList (elemAt path) (length path - 1));
      isThere = attempt true (isAttrs parent && parent ? ${elemAt path (length path - 1)});
    in if length option == 1 || isThere then path else pathOf (tail option);
  valueOf = option: at (pathOf option);

  text = value: if isString value then unsafeDiscardStringContext value else null;
  int = value: if isInt value then value else null;
  bool = value: if isBool value then value else null;
  # In a JSON number for a port there is room for 16 bits only.
  isPort = value: isInt value && value > 0 && value < 65536;
  ports = value: if isList value then filter isPort value else [ ];
  texts = value: if isList value then filter (v: v != null) (map text value) else [ ];
  attrs = value: if isAttrs value then value else { };
  list = value: if isList value then value else [ ];
  hasPrefix = prefix: value: substring 0 (builtins.stringLength prefix) value == prefix;
  keep = names: set: listToAttrs (map (name: { inherit name; value = set.${name}; }) names);
  filterAttrs = wanted: set: keep (filter (name: wanted set.${name}) (attrNames set)) set;

  # One option, converted; null when missing or throwing.
  read = convert: option: attempt null (convert (valueOf option));
  orElse = first: second: if first == null then second else first;
  yes = option: read bool option == true;

  # --- interfaces ---

  words = value: filter (word: isString word && word != "") (concatMap (split "[ \t\n]+") (texts (toList value)));
  toList = value: if isList value then value else [ value ];
  # What each of a set of sets names in a field.
  membersIn = field: option:
    concatMap (name: attempt [ ] (words ((at (pathOf option ++ [ name ])).${field} or null))) (setsIn (pathOf option));
  # What networkd matches: the names and patterns of a network, of which any may be met, are one. A card that is meant by
  # its address goes by the name that udev would give it for that; an address of QEMU's kind is the VM's own.
  networkdInterfaces =
    let
      isName = word: match "[][A-Za-z0-9_.*?-]+" word != null;
      together = found: if found != [ ] && all isName found then [ (builtins.concatStringsSep " " found) ] else [ ];
      lower = builtins.replaceStrings [ "A" "B" "C" "D" "E" "F" ] [ "a" "b" "c" "d" "e" "f" ];
      byAddress = word:
        let bytes = match "(..)[:-](..)[:-](..)[:-](..)[:-](..)[:-](..)" word;
        in if bytes == null || hasPrefix "52:54:00" word then null
        else lower ("enx" + builtins.concatStringsSep "" bytes);
      matched = name:
        let
          network = at (pathOf names.networkd.networks ++ [ name ]);
          by = key: words ((network.matchConfig or { }).${key} or null);
        in
        concatMap together [ (by "Name") (words (network.name or null)) ]
        ++ texts (map byAddress (by "MACAddress" ++ by "PermanentMACAddress"));
    in
    if yes names.networkd.enable then concatMap (name: attempt [ ] (matched name)) (setsIn (pathOf names.networkd.networks))
    else [ ];
  interfaces = unique (concatLists [
    (attempt [ ] (attrNames (attrs (valueOf names.interfaces))))
    (membersIn "interfaces" names.bridges)
    (membersIn "interfaces" names.bonds)
    (membersIn "interface" names.vlans)
    (attempt [ ] (words ((attrs (valueOf names.gateway)).interface or null)))
    networkdInterfaces
  ]);

  # The addresses that each interface is to have, without their prefixes.
  addresses =
    let
      plain = word: head (filter isString (split "/" word));
      listed = family: map (each: each.address or null) (list (family.addresses or null));
      scripted = map
        (name:
          let interface = at (pathOf names.interfaces ++ [ name ]); in {
            inherit name;
            value = attempt [ ] (words (listed (attrs (interface.ipv4 or null)) ++ listed (attrs (interface.ipv6 or null))));
          })
        (setsIn (pathOf names.interfaces));
      ofNetwork = name:
        let
          network = at (pathOf names.networkd.networks ++ [ name ]);
          own = words (network.address or null) ++ words ((attrs (network.networkConfig or null)).Address or null);
        matched = words ((attrs (network.matchConfig or null)).Name or null);
        in map (interface: { name = interface; value = map plain own; }) (if matched == [ ] then [ name ] else matched);
      networkd = if yes names.networkd.enable
        then concatMap (name: attempt [ ] (ofNetwork name)) (setsIn (pathOf names.networkd.networks)) else [ ];
      tunnels = field: option: map
        (name: { inherit name; value = attempt [ ] (map plain (words ((at (pathOf option ++ [ name ])).${field} or null))); })
        (setsIn (pathOf option));
    in listToAttrs (filter (each: each.value != [ ])
      (tunnels "ips" names.wireguard ++ tunnels "address" names.wgQuick ++ networkd ++ scripted));

  # --- disks ---

  # The file systems of each, by where they are mounted: what they are on, or of which type.
  fileSystemsBy = key: root:
    let found = within root (pathOf names.fileSystems); in
    mapAttrs
      (place: _: attempt "" (orElse (text ((attrs (within root (pathOf names.fileSystems ++ [ place ]))).${key} or null)) ""))
      (listToAttrs (map (name: { inherit name; value = null; }) (filter (hasPrefix "/") (attempt [ ] (attrNames (attrs found))))));
  disks =
    let
      own = fileSystemsBy "device" config;
      typesOf = root: unique (attrValues (fileSystemsBy "fsType" root));
      namesIn = option: attempt [ ] (attrNames (attrs (within host (pathOf option))));
    in {
      inherit own;
      real = fileSystemsBy "device" host;
      types = filter (type: type != "" && !(elem type (typesOf config))) (typesOf host);
      luks = filter (name: !(elem name (attempt [ ] (attrNames (attrs (valueOf names.luks)))))) (namesIn names.luks);
      pools = attempt [ ] (texts (within host (pathOf names.pools)));
      persistence = namesIn names.persistence;
      with_disko = attempt false (host ? system.build.vmWithDisko);
    };

  # --- secrets ---

  secrets =
    let
      of = kind: directory:
        let
          option = pathOf names.secrets.${kind};
          declared = name:
            let
              value = at (pathOf names.secrets.${kind} ++ [ name ]);
              field = which: attempt null (text (value.${which} or null));
            in {
              inherit name;
              value = {
                option = builtins.concatStringsSep "." option;
                path = orElse (field "path") "${directory}/${name}";
                owner = orElse (field "owner") (field "user");
                group = field "group";
                mode = orElse (field "mode") (field "permissions");
              };
            };
        in map declared (setsIn option);
    in listToAttrs (of "sops" "/run/secrets" ++ of "age" "/run/agenix" ++ of "deployment" "/run/keys");

  # --- units ---

  conditionText = value:
    if isBool value then (if value then "true" else "false")
    else if isString value || isInt value then unsafeDiscardStringContext (toString value)
    else null;
  conditionsOf = unitConfig:
    concatLists (map
      (name:
        let
          value = attempt null unitConfig.${name};
          written = filter (v: v != null) (map conditionText (if isList value then value else [ value ]));
        in map (v: "${name}=${v}") written)
      (filter (hasPrefix "Condition") (attrNames unitConfig)));

  unit = value:
    let field = convert: fallback: name: attempt fallback (orElse (convert (value.${name} or null)) fallback);
    in {
      enable = field bool true "enable";
      wanted_by = concatMap (field texts [ ]) [ "wantedBy" "requiredBy" "upheldBy" ];
      kind = attempt null (text (value.serviceConfig.Type or null));
      conditions = attempt [ ] (conditionsOf (attrs (value.unitConfig or { })));
      description = field text null "description";
    };

  # What a target asks for by itself: postgresql.target's `requires`, graphical.target's `wants`.
  target = value:
    unit value // { pulls = concatMap (name: attempt [ ] (texts (value.${name} or null))) [ "wants" "requires" "bindsTo" "upholds" ]; };

  # The names in a set whose values are sets themselves and do not throw.
  setsIn = path:
    filter (name: attempt false (isAttrs (at (path ++ [ name ])))) (attempt [ ] (attrNames (attrs (at path))));
  # From paths of sets of units, by kind.
  unitsOf = manager: paths:
    let
      of = kind: suffix:
        let
          own = if suffix == "target" && manager == "system" then target else if manager == "system" then unit else userUnit;
          unitAt = name: { name = "${name}.${suffix}"; value = own (at (paths.${kind} ++ [ name ])); };
        in map unitAt (setsIn paths.${kind});
    in listToAttrs (concatLists [
      (of "services" "service")
      (of "sockets" "socket")
      (of "timers" "timer")
      (of "targets" "target")
      (of "paths" "path")
    ]);

  systemUnits = unitsOf "system" (mapAttrs (_: pathOf) names.units);

  # Projected before it is forced: the list holds attribute sets that may hold packages.
  mounts =
    let count = attempt 0 (length (list (valueOf names.mounts)));
    in filter (mount: mount.where != null) (map
      (index:
        let value = elemAt (valueOf names.mounts) index;
        in unit value // { where = attempt null (text (value.where or null)); })
      (genList (index: index) count));

  # --- users ---

  # A hash that begins with ! or * is one that no password matches (shadow(5)).
  unlocks = value: isString value && !(hasPrefix "!" value) && !(hasPrefix "*" value);
  user = value:
    let
      field = convert: fallback: name: attempt fallback (orElse (convert (value.${name} or null)) fallback);
      file = orElse (field text null "hashedPasswordFile") (field text null "passwordFile");
      isSet = name: attempt false (unlocks (value.${name} or null));
      some = name: attempt false (let v = value.openssh.authorizedKeys.${name} or [ ]; in isList v && v != [ ]);
    in {
      normal = field bool false "isNormalUser";
      uid = field int null "uid";
      group = let group = field text null "group"; in if group == "" then null else group;
      extra_groups = field texts [ ] "extraGroups";
      home = field text null "home";
      create_home = field bool false "createHome";
      has_password = file != null || isSet "hashedPassword" || isSet "password" || isSet "initialPassword"
        || isSet "initialHashedPassword";
      password_file = file;
      linger = field bool false "linger";
      has_key = some "keys" || some "keyFiles";
    };
  members = option: convert:
    let
      path = pathOf option;
      wanted = name: attempt false ((at (path ++ [ name ])).enable or true == true);
      member = name: { inherit name; value = convert (at (path ++ [ name ])); };
    in listToAttrs (map member (filter wanted (setsIn path)));

  # --- ports that an enabled service says it listens on ---

  tcp = option: map (port: { inherit option port; protocol = "tcp"; });
  # Where `enable` is on, the ports that `found` leads to, without what is none.
  expected = option: enable: found: tcp option (if yes enable then attempt [ ] (filter isPort found) else [ ]);
  isOn = set: name: set.${name} or false == true;
  # The port of `host:port`, in a list; none of a socket's path.
  portIn = address:
    let found = if isString address && !(hasPrefix "unix" address) then match ".*:([0-9]{1,5})" address else null;
    in if found == null then [ ] else numbers found;
  # Not fromJSON of the text as it is: that refuses a number with a zero before it, and cannot be caught.
  numbers = map (digits: fromJSON (head (match "0*([0-9]+)" digits)));
  hostsOf = option:
    let hosts = attrs (valueOf option);
    in map (name: { inherit name; host = attrs hosts.${name}; }) (attrNames hosts);

  # `ports` are for the addresses that name none, or for all where there is none.
  opensshPorts =
    let
      usual = list (valueOf names.openssh.ports);
      addresses = list (valueOf names.openssh.addresses);
      portsOf = address: if address.port or null == null then usual else [ address.port ];
    in if addresses == [ ] then usual else concatMap portsOf addresses;

  # What NixOS's nginx module makes of a virtual host. Where nginx has a configuration of its own, it has none of them.
  nginxPorts =
    let
      http = orElse (read int names.nginx.http) 80;
      https = orElse (read int names.nginx.https) 443;
      isSocket = address: isString address && hasPrefix "unix:" address;
      lines = filter (line: isAttrs line && !(isSocket (line.addr or null)));
      portsOf = { host, ... }:
        let
          secure = any (isOn host) [ "addSSL" "forceSSL" "onlySSL" ];
          # A line that does not say whether it is for TLS is for both.
          without = ssl: usual: lines:
            map (line: orElse (line.port or null) usual) (filter (line: line.ssl or null != ssl) lines);
          by = lines: (if isOn host "onlySSL" then [ ] else without true http lines)
            ++ (if secure || isOn host "rejectSSL" then without false https lines else [ ]);
          own = list (host.listen or null);
          general = list (valueOf names.nginx.listen);
          named = list (host.listenAddresses or null);
          addresses = if named == [ ] then list (valueOf names.nginx.addresses) else named;
        in
        if own != [ ] then map (line: line.port or null) (lines own)
        else if general != [ ] then by (lines general)
        else if addresses != [ ] then by (map (_: { }) (filter (address: !(isSocket address)) addresses))
        else by [ { } ];
    in if nginxUsesHosts then concatMap portsOf (hostsOf names.nginx.hosts) else [ ];
  nginxUsesHosts = all (option: elem (read text option) [ null "" ]) [ names.nginx.own names.nginx.ownHttp ];

  # Where each virtual host of nginx's can be asked on this machine itself: by its own name, at its first line or at the
  # usual port; by TLS where a request without is only sent there. One that sends all elsewhere says nothing of itself.
  nginxSites =
    let
      isHere = address: elem address [ null "0.0.0.0" "127.0.0.1" "*" ];
      usual = list (valueOf names.nginx.addresses);
      siteOf = { name, host }:
        let
          own = list (host.listen or null);
          named = list (host.listenAddresses or null);
          addresses = if named != [ ] then named else usual;
          tls = any (isOn host) [ "forceSSL" "onlySSL" ];
          found = host.serverName or null;
          site = { host = if isString found then found else name; inherit (place) port tls; };
          place =
            if own != [ ] then { port = (head own).port or null; tls = isOn (head own) "ssl"; }
            else if tls then { port = orElse (read int names.nginx.https) 443; inherit tls; }
            else { port = orElse (read int names.nginx.http) 80; inherit tls; };
          reaches = if own != [ ] then isHere ((head own).addr or null) else addresses == [ ] || any isHere addresses;
          isAsked = reaches && isPort site.port && host.globalRedirect or null == null
            && match "[A-Za-z0-9][A-Za-z0-9.-]*" site.host != null;
        in if isAsked then [ site ] else [ ];
    in
    if yes names.nginx.enable && nginxUsesHosts && list (valueOf names.nginx.listen) == [ ]
    then concatMap siteOf (hostsOf names.nginx.hosts) else [ ];

  # The addresses of Caddy's sites say where it listens; settings as JSON stand for all of them.
  caddyPorts =
    let
      settings = attrs (valueOf names.caddy.settings);
      servers = attrs (settings.apps.http.servers or null);
      global = orElse (read text names.caddy.global) "";
      # Before there were options for them, ports were set among the global lines.
      written = key: numbers (concatLists (filter isList (split "${key}[ \t]+([0-9]{1,5})" global)));
      portOf = key: option: usual: head (written key ++ filter isPort [ (read int option) ] ++ [ usual ]);
      http = portOf "http_port" names.caddy.http 80;
      https = portOf "https_port" names.caddy.https 443;
      # [scheme://]host[:port][/path]. One with a placeholder is known only when Caddy runs.
      portsOf = address:
        let
          found = match "((https?)://)?([[][^]]*]|[^]{}:/[]*)(:([0-9]{1,5}))?(/.*)?" address;
          scheme = elemAt found 1;
        in
        if address == "" || found == null then [ ]
        else if elemAt found 4 != null then numbers [ (elemAt found 4) ]
        else if scheme == "http" then [ http ]
        else [ https ];
      isSocket = address: hasPrefix "unix/" address || hasPrefix "fd/" address;
      words = text: filter isString (split "[ ,\t\n]+" text);
      # Whether a text holds a `bind` to a socket.
      binds = value: isString value && any isList (split "bind[ \t]+(unix/|fd/)" value);
      sites = { name, host }:
        if any isSocket (texts (host.listenAddresses or null)) || binds (host.extraConfig or null) then [ ]
        else concatMap words (texts ([ (host.hostName or name) ] ++ list (host.serverAliases or null)));
    in
    if settings == { } then concatMap portsOf (concatMap sites (hostsOf names.caddy.hosts))
    else concatMap (name: concatMap portIn (list (servers.${name}.listen or null))) (attrNames servers);

  httpdPorts = concatMap
    ({ host, ... }:
      let listen = list (host.listen or null); in
      if listen != [ ] then map (line: line.port or null) listen
      else (if isOn host "onlySSL" then [ ] else [ 80 ])
        ++ (if any (isOn host) [ "onlySSL" "addSSL" "forceSSL" ] then [ 443 ] else [ ]))
    (hostsOf names.httpd.hosts);

  mysqlPorts =
    let
      mysqld = attrs (valueOf names.mysql.mysqld);
      isOff = key: mysqld ? ${key} && !(elem mysqld.${key} [ false 0 "0" "off" "OFF" ]);
    in if isOff "skip-networking" || isOff "skip_networking" then [ ] else [ (orElse (mysqld.port or null) 3306) ];

  unique = found: foldl' (done: item: if elem item done then done else done ++ [ item ]) [ ] found;
  # Services with one port. A protocol that is no network's is one that speaks over a socket.
  single = option: { enable, port, protocol ? null }:
    let isSocket = protocol != null && elem (read text protocol) [ "socket" "http+unix" "fcgi+unix" ];
    in expected option enable (if isSocket then [ ] else [ (valueOf port) ]);
  servicePorts = concatLists ([
    (expected "services.openssh" names.openssh.enable opensshPorts)
    (expected "services.nginx" names.nginx.enable nginxPorts)
    (expected "services.caddy" names.caddy.enable caddyPorts)
    (expected "services.httpd" names.httpd.enable httpdPorts)
    (expected "services.postgresql" names.postgresql.enable
      (if read text names.postgresql.addresses == "" then [ ] else [ (valueOf names.postgresql.port) ]))
    (expected "services.mysql" names.mysql.enable mysqlPorts)
    (expected "services.memcached" names.memcached.enable
      (if yes names.memcached.socket then [ ] else [ (valueOf names.memcached.port) ]))
    (expected "services.printing" names.printing.enable (concatMap portIn (list (valueOf names.printing.addresses))))
    (single "services.grafana" names.grafana)
    (single "services.prometheus" names.prometheus)
    (single "services.prometheus.exporters.node" names.nodeExporter)
    (single "services.gitea" names.gitea)
    (single "services.forgejo" names.forgejo)
  ] ++ map redisPort (setsIn (pathOf names.redis)));
  redisPort = name:
    let server = field: at (pathOf names.redis ++ [ name field ]);
    in tcp "services.redis.servers.${if name == "" then "\"\"" else name}"
      (attempt [ ] (filter isPort (if server "enable" == true then [ (server "port") ] else [ ])));

  # --- ports that one rule finds ---

  # What an enabled service with a unit calls its port, where nothing above knows it better. Only what has a name of
  # those below is looked at, never a package: in an enabled service that costs what the service itself needs.
  portKeys = listToKeys ''
    port ports listenport listen_port httpport http_port httpsport https_port http_listen_port grpc_listen_port webport
    web_port webuiport serverport server_port rocket_port rpc_port apiport api_port bindport bind_port
  '';
  addressKeys = listToKeys ''
    listen listenaddress listen_address listen_addr listenaddr guiaddress bind bind_addr bindaddress bind_address
    http_addr httpaddr web_listen_address consoleaddress address
  '';
  # Below these a service is described by itself; `database`, `smtp`, `redis` and the like are others' ports.
  groupKeys = listToKeys ''
    settings config configuration server web http https api gui ui webui listener listeners network dns
  '';
  socketKeys = listToKeys "host address addr listen bind protocol socket unixsocket unix_socket socketpath";
  listToKeys = text: listToAttrs (map (name: { inherit name; value = true; }) (filter (w: isString w && w != "") (split "[ \n]+" text)));
  keyOf = name: builtins.replaceStrings ([ "-" ] ++ upper) ([ "_" ] ++ lower) name;
  upper = letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  lower = letters "abcdefghijklmnopqrstuvwxyz";
  letters = text: genList (index: substring index 1 text) 26;
  isGroup = value: isAttrs value && (value.type or null) != "derivation";
  # A number, or one as text: settings that become an environment are texts.
  portOf = value:
    if isList value then concatMap portOf value
    else if isInt value then [ value ]
    else if isString value && match "[0-9]{1,5}" value != null then numbers [ value ]
    else [ ];
  # `::1` is an address and no port.
  portOfAddress = value:
    let found = if isString value then match "([^:/]*|[[][^]]*[]]):([0-9]{1,5})" value else null;
    in if found == null then [ ] else numbers [ (elemAt found 1) ];
  portsBelow = depth: value:
    let
      names = attrNames value;
      isNamed = sets: name: let key = keyOf name; in any (set: set ? ${key}) sets;
      isOff = attempt true (value.enable or true == false || value.enabled or true == false);
      speaksOverSocket = any
        (name: attempt false (let v = value.${name}; in isString v && (hasPrefix "/" v || match ".*unix.*" v != null)))
        (filter (isNamed [ socketKeys ]) (attrNames value));
      # What settings were called before there were settings.
      isFormer = name: depth == portDepth && value ? settings && elem name [ "config" "configuration" ];
      groups = filter (name: isNamed [ groupKeys ] name && !(isFormer name)) names;
      below = name: attempt [ ] (concatMap (v: if isGroup v then portsBelow (depth - 1) v else [ ]) (toList value.${name}));
      here = name: attempt [ ] (filter isPort ((if isNamed [ portKeys ] name then portOf else portOfAddress) value.${name}));
      deeper = if depth == 0 then [ ] else concatMap below groups;
      # A former name of a setting answers the same as the setting, and has nix print that it is obsolete.
      own = if depth == portDepth && deeper != [ ] then [ ] else concatMap here (filter (isNamed [ portKeys addressKeys ]) names);
    in if isOff || speaksOverSocket then [ ] else deeper ++ own;
  portDepth = 3;

  knownServices = listToAttrs (map (name: { inherit name; value = true; }) [
    "openssh" "nginx" "caddy" "httpd" "postgresql" "mysql" "redis" "memcached" "printing" "grafana" "gitea" "forgejo"
  ]);
  # immich-server.service is of services.immich, prometheus-node-exporter.service of an exporter.
  serviceBehind = name:
    let
      exporter = match "prometheus-(.+)-exporter" name;
      parts = filter isString (split "-" name);
      shorter = map (count: builtins.concatStringsSep "-" (genList (elemAt parts) count)) (genList (n: length parts - n) (length parts));
      services = config.services or { };
      found = filter (candidate: services ? ${candidate}) shorter;
    in
    if exporter != null then { option = "services.prometheus.exporters.${head exporter}"; value = services.prometheus.exporters.${head exporter}; }
    else if found == [ ] || knownServices ? ${head found} then null
    else { option = "services.${head found}"; value = services.${head found}; };
  portsOfUnit = name:
    let
      stem = match "([^@]+)\\.service" name;
      service = serviceBehind (head stem);
      found = if isGroup service.value && service.value.enable or false == true then portsBelow portDepth service.value else [ ];
      port = port: { inherit (service) option; inherit port; protocol = "tcp"; unit = name; };
    in if stem == null then [ ] else attempt [ ] (if service == null then [ ] else map port found);
  inferredPorts =
    let
      all = concatMap portsOfUnit (filter (name: systemUnits.${name}.enable) (attrNames systemUnits));
      isKnown = port: any (known: known.port == port.port) servicePorts;
      # Of several units of a service the one of its name stands for it, then the server's.
      rank = port:
        let rest = match ".*\\.([^.]+)" port.option; name = head rest; in
        if port.unit == "${name}.service" then 0
        else if elem port.unit [ "${name}-server.service" "${name}-web.service" ] then 1 else 2;
      add = done: port: if any (known: known.option == port.option && known.port == port.port) done then done else done ++ [ port ];
    in foldl' add [ ] (builtins.sort (a: b: rank a < rank b) (filter (port: !(isKnown port)) all));

  # What the firewall lets in on any interface.
  openPorts = field: option:
    unique (attempt [ ] (ports (valueOf option)) ++ concatMap
      (name: attempt [ ] (ports ((at (pathOf names.openOf ++ [ name ])).${field} or null)))
      (setsIn (pathOf names.openOf)));
  openRanges = field: option:
    let
      range = value: if isPort (value.from or null) && isPort (value.to or null) then [ [ value.from value.to ] ] else [ ];
      ranges = value: concatMap range (filter isAttrs (list value));
    in attempt [ ] (ranges (valueOf option)) ++ concatMap
      (name: attempt [ ] (ranges ((at (pathOf names.openOf ++ [ name ])).${field} or null)))
      (setsIn (pathOf names.openOf));

  # --- what could not be read ---

  # Each option by the name by which it is read, those beside an `enable` where it is on or throws: what is not used is
  # not evaluated, since not every error can be caught. What was removed throws by design.
  asked = value:
    let isOff = value ? enable && !(yes value.enable) && !(throws (pathOf value.enable)); in
    if isList value then (if value != [ ] && isString (head value) then [ (pathOf value) ] else concatMap asked value)
    else if !(isAttrs value) || value.removed or false then [ ]
    else concatMap asked (if isOff then [ value.enable ] else attrValues value);
  # Only the outermost value is forced: sets may hold packages, or other things that throw by themselves.
  throws = path: !(tryEval (let v = at path; in builtins.seq v true)).success;
  unread = listToAttrs (map
    (path: { name = builtins.concatStringsSep "." path; value = "throws when it is read"; })
    (filter throws (asked names)));

  # --- the desktop ---

  displayManagers = filter (manager: yes manager.enable) names.displayManagers;
  displayManager = if displayManagers == [ ] then null else (head displayManagers).name;
  # One that offers no Wayland starts the X session of a desktop that has both.
  isOnlyX = any (manager: manager ? wayland && read bool manager.wayland == false) displayManagers;
  desktops = unique (
    map (kind: { inherit (kind) name; type = if isOnlyX then null else kind.type; }) (filter (kind: yes kind.enable) names.desktops)
    ++ map (option: { name = elemAt (pathOf option) 3; type = "x11"; }) (filter yes names.windowManagers));

  greetd = session: field: if displayManager == "greetd" then read text names.greetd.${session}.${field} else null;
  isUser = name: name != null && attempt false ((at (pathOf names.users ++ [ name ])).isNormalUser or false == true);
  # A normal user as the greeter's user means that there is no greeter.
  greeterIsUser = isUser (greetd "default_session" "user");
  autoLogin = orElse (read text names.autoLogin.user)
    (orElse (greetd "initial_session" "user") (if greeterIsUser then greetd "default_session" "user" else null));
  autoLoginOn = displayManager == "greetd" || yes names.autoLogin.enable;

  # home-manager writes a unit as its file is written: { Unit; Service; Install }.
  userUnit = value:
    if value ? Unit || value ? Install || value ? Service then
      let
        words = v: if isString v then filter isString (split " +" v) else texts v;
        conditions = attempt { } (attrs (value.Unit or { }));
      in {
        enable = true;
        wanted_by = attempt [ ] (words (value.Install.WantedBy or [ ]) ++ words (value.Install.RequiredBy or [ ]));
        kind = attempt null (text (value.Service.Type or null));
        conditions = attempt [ ] (conditionsOf conditions);
        description = attempt null (text (conditions.Description or null));
      }
    else unit value;
  kinds = [ "services" "sockets" "timers" "targets" "paths" ];
  homeUnits = name:
    unitsOf "user" (listToAttrs (map
      (kind: { name = kind; value = pathOf names.homes ++ [ name "systemd" "user" kind ]; })
      kinds));

  desktop =
    if displayManager == null && desktops == [ ] then null else {
      display_manager = displayManager;
      autologin_user = if autoLoginOn then autoLogin else null;
      # greetd's own sessions are commands, not files.
      command = if autoLoginOn then orElse (greetd "initial_session" "command") (if greeterIsUser then greetd "default_session" "command" else null) else null;
      greeter_command = if greeterIsUser then null else greetd "default_session" "command";
      default_session = read text names.defaultSession;
      sessions_dir = read (data: text (data.desktops.outPath or null)) names.sessions;
      # What a display manager starts X sessions by, and some Wayland sessions, too (src/desktop/display_managers.rs). Where
      # none does it is part of no system.
      session_wrapper =
        let
          wrapper = data: let found = data.wrapper or null; in text (if isAttrs found then found.outPath or null else found);
          wrapsWayland = elem displayManager [ "lightdm" "ly" ];
        in if wrapsWayland || any (kind: kind.type != "wayland") desktops then read wrapper names.sessions else null;
      # The X server as a display manager starts it, where there is an X session. It is part of the system where one may.
      x_server =
        let program = read text names.xserver.program;
        in if yes names.xserver.enable && program != null && any (kind: kind.type != "wayland") desktops
        then builtins.concatStringsSep " " ([ program ] ++ orElse (read texts names.xserver.arguments) [ ]) else null;
      greeter_on_wayland =
        let manager = if displayManagers == [ ] then { } else head displayManagers;
        in if manager ? greeterOnWayland then read bool manager.greeterOnWayland else null;
      inherit desktops;
      portal = yes names.portal;
      xwayland = read bool names.xwayland;
    };

  # --- sound ---

  # Without `audio.enable` it is there for screens; older releases had no such option.
  pipewireSounds = yes names.pipewire.enable && orElse (read bool names.pipewire.sound) true;
  pulseaudio = yes names.pulseaudio.enable;
  scalar = value:
    if isString value || isInt value || builtins.isFloat value then unsafeDiscardStringContext (toString value)
    else if isBool value then (if value then "true" else "false") else null;
  # `allowed-rates` is a list.
  setting = value:
    if isList value then builtins.concatStringsSep " " (texts (map scalar value)) else scalar value;
  # The settings of a set by their dotted names. `default.clock.rate = 1;` without quotes makes sets in sets, which
  # PipeWire does not read: declared all the same.
  dotted = depth: before: value:
    concatMap
      (key:
        let v = value.${key}; name = if before == "" then key else "${before}.${key}"; in
        if attempt false (isGroup v) then (if depth == 0 then [ ] else dotted (depth - 1) name v)
        else [ { inherit name; value = attempt null (setting v); } ])
      (attempt [ ] (attrNames (attrs value)));
  contextProperties =
    let
      files = pathOf names.pipewire.files;
      fileNames = attempt [ ] (attrNames (attrs (at files)));
      isClock = setting: match "(default\\.)?clock\\..*" setting.name != null;
      of = name:
        let
          inside = dotted 3 "" (attempt' (at (files ++ [ name "context.properties" ])));
          # Beside `context.properties` instead of in it, or in a file of that name.
          outside = filter isClock (dotted 3 "" (attempt' (at (files ++ [ name ]))));
        in listToAttrs (filter (setting: setting.value != null) (outside ++ inside));
    in foldl' (all: name: all // of name) { } fileNames;
  # As it is, where it is there at all: what it holds is forced by itself.
  attempt' = value: let tried = tryEval value; in if tried.success then tried.value else null;
  # Sinks that PipeWire's own configuration makes, by name.
  pipewireSinks =
    let
      files = pathOf names.pipewire.files;
      fileNames = attempt [ ] (attrNames (attrs (at files)));
      sinkOf = props:
        if attempt false (props."media.class" or null == "Audio/Sink")
        then [ (attempt "a sink" (orElse (text (props."node.name" or null)) "a sink")) ] else [ ];
      entries = name: section: attempt' (list (at (files ++ [ name section ])));
      of = name: section:
        concatMap
          (entry: let args = attrs (entry.args or null); in sinkOf args ++ sinkOf (attrs (args."capture.props" or null)))
          (filter isAttrs (orElse (entries name section) [ ]));
    in concatMap (name: concatMap (section: attempt [ ] (of name section)) [ "context.objects" "context.modules" ]) fileNames;
  audio =
    if !pipewireSounds && !pulseaudio then null else {
      pipewire = pipewireSounds;
      pipewire_pulse = pipewireSounds && yes names.pipewire.pulse;
      wireplumber = pipewireSounds && orElse (read bool names.pipewire.wireplumber) true;
      system_wide = yes names.pipewire.systemWide || yes names.pulseaudio.systemWide;
      inherit pulseaudio;
      rtkit = yes names.rtkit;
      alsa_persistence = yes names.alsaPersistence;
      properties = contextProperties;
      unused_sinks = if pulseaudio && yes names.pipewire.enable && !pipewireSounds then pipewireSinks else [ ];
    };
in
{
  inherit audio desktop;
  known = attempt false (isAttrs config && (config ? systemd || config ? networking || config ? users));
  host_name = let name = read text names.hostName; in if name == "" then null else name;
  domain = let name = read text names.domain; in if name == "" then null else name;
  units = systemUnits;
  user_units = unitsOf "user" (mapAttrs (_: pathOf) names.userUnits);
  home_units = listToAttrs (map
    (name: { inherit name; value = homeUnits name; })
    (attempt [ ] (attrNames (attrs (valueOf names.homes)))));
  inherit interfaces addresses disks secrets mounts unread;
  firewall = read bool names.firewall;
  open_tcp = openPorts "allowedTCPPorts" names.openTcp;
  open_udp = openPorts "allowedUDPPorts" names.openUdp;
  open_tcp_ranges = openRanges "allowedTCPPortRanges" names.openTcpRanges;
  open_udp_ranges = openRanges "allowedUDPPortRanges" names.openUdpRanges;
  service_ports = unique servicePorts;
  sites = attempt [ ] nginxSites;
  inferred_ports = inferredPorts;
  mutable_users = read bool names.mutableUsers;
  allow_no_password_login = read bool names.allowNoPasswordLogin;
  users = members names.users user;
  groups = members names.groups (group: attempt null (int (group.gid or null)));
  memory_mib = read int names.memory;
  cores = read int names.cores;
  disk_mib = read int names.disk;
  nixos_init = read bool names.nixosInit;
  autologin_user = orElse (read text names.consoleLogin)
    (if yes names.autoLogin.enable then read text names.autoLogin.user else null);
}
