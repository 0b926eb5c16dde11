# What a configuration promises, as plain data: `config` -> Promises (src/build/promises.rs, same names).
#
# Nothing here may stop the run: each option is read by itself, one that throws is named in `unread`, one that is
# missing is left at its default. Options are projected to strings, numbers and booleans before they are forced,
# since packages among them would be forced without end. Passwords are looked at here and never leave nix.
config:
let
  inherit (builtins)
    attrNames concatLists deepSeq elem filter foldl' head isAttrs isBool isInt isList isString length listToAttrs map
    mapAttrs substring toString tryEval unsafeDiscardStringContext;

  attempt = fallback: value:
    let tried = tryEval (deepSeq value value);
    in if tried.success then tried.value else fallback;

  # The value at a path, or null where any step is missing. May throw: only use inside `attempt`.
  at = path: foldl' (set: name: if isAttrs set && set ? ${name} then set.${name} else null) config path;

  text = value: if isString value then unsafeDiscardStringContext value else null;
  int = value: if isInt value then value else null;
  bool = value: if isBool value then value else null;
  # In a JSON number for a port there is room for 16 bits only.
  isPort = value: isInt value && value > 0 && value < 65536;
  ports = value: if isList value then filter isPort value else [ ];
  texts = value: if isList value then filter (v: v != null) (map text value) else [ ];
  attrs = value: if isAttrs value then value else { };
  hasPrefix = prefix: value: substring 0 (builtins.stringLength prefix) value == prefix;
  keep = names: set: listToAttrs (map (name: { inherit name; value = set.${name}; }) names);
  filterAttrs = wanted: set: keep (filter (name: wanted set.${name}) (attrNames set)) set;

  # One option, converted; null when missing or throwing.
  read = convert: path: attempt null (convert (at path));
  orElse = first: second: if first == null then second else first;
  yes = path: read bool path == true;

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
      wanted_by = field texts [ ] "wantedBy" ++ field texts [ ] "requiredBy";
      kind = attempt null (text (value.serviceConfig.Type or null));
      conditions = attempt [ ] (conditionsOf (attrs (value.unitConfig or { })));
      description = field text null "description";
    };

  unitsOf = kind: suffix:
    let set = attempt { } (let found = attrs (at [ "systemd" kind ]); in mapAttrs (_: _: null) found);
    in map (name: { name = "${name}.${suffix}"; value = unit (at [ "systemd" kind name ]); })
      (filter (name: attempt false (isAttrs (at [ "systemd" kind name ]) && true)) (attrNames set));

  # Projected before it is forced: the list holds attribute sets that may hold packages.
  mounts =
    let count = attempt 0 (let found = at [ "systemd" "mounts" ]; in if isList found then length found else 0);
    in filter (mount: mount.where != null) (map
      (index:
        let value = builtins.elemAt (at [ "systemd" "mounts" ]) index;
        in unit value // { where = attempt null (text (value.where or null)); })
      (builtins.genList (index: index) count));

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
  members = path: convert:
    let set = attempt { } (mapAttrs (_: _: null) (attrs (at path)));
    in listToAttrs (map (name: { inherit name; value = convert (at (path ++ [ name ])); })
      (filter (name: attempt false (let v = at (path ++ [ name ]); in isAttrs v && (v.enable or true) == true))
        (attrNames set)));

  # --- ports that an enabled service says it listens on ---

  tcp = option: port: if isPort port then [ { inherit option port; protocol = "tcp"; } ] else [ ];
  whenEnabled = path: found:
    if yes (path ++ [ "enable" ]) then attempt [ ] found else [ ];
  # { option, where its port is }
  single = [
    { option = "services.grafana"; port = [ "settings" "server" "http_port" ]; }
    { option = "services.prometheus"; port = [ "port" ]; }
    { option = "services.prometheus.exporters.node"; port = [ "port" ]; }
    { option = "services.gitea"; port = [ "settings" "server" "HTTP_PORT" ]; }
    { option = "services.forgejo"; port = [ "settings" "server" "HTTP_PORT" ]; }
  ];
  split = option: filter isString (builtins.split "\\." option);
  nginxHost = host:
    let
      tls = (host.addSSL or false) || (host.forceSSL or false) || (host.onlySSL or false);
      # What NixOS's nginx module makes of a virtual host without `listen`.
      usual = (if host.onlySSL or false then [ ] else [ (orElse (read int [ "services" "nginx" "defaultHTTPListenPort" ]) 80) ])
        ++ (if tls then [ (orElse (read int [ "services" "nginx" "defaultSSLListenPort" ]) 443) ] else [ ]);
      listens = filter (l: !(hasPrefix "unix:" (l.addr or ""))) (host.listen or [ ]);
    in if (host.listen or [ ]) != [ ] then map (l: l.port or null) listens else usual;
  unique = list: foldl' (done: item: if elem item done then done else done ++ [ item ]) [ ] list;
  servicePorts = concatLists ([
    (whenEnabled [ "services" "openssh" ] (concatLists (map (tcp "services.openssh") (ports (at [ "services" "openssh" "ports" ])))))
    (whenEnabled [ "services" "nginx" ]
      (let hosts = attrs (at [ "services" "nginx" "virtualHosts" ]);
      in concatLists (map (tcp "services.nginx") (concatLists (map (name: nginxHost hosts.${name}) (attrNames hosts))))))
    (whenEnabled [ "services" "postgresql" ]
      (tcp "services.postgresql"
        (orElse (read int [ "services" "postgresql" "settings" "port" ]) (at [ "services" "postgresql" "port" ]))))
  ] ++ map (s: whenEnabled (split s.option) (tcp s.option (at (split s.option ++ s.port)))) single
    ++ map
      (name: let path = [ "services" "redis" "servers" name ]; in
        whenEnabled path (tcp "services.redis.servers.${name}" (at (path ++ [ "port" ]))))
      (attempt [ ] (attrNames (attrs (at [ "services" "redis" "servers" ])))));

  # --- what could not be read ---

  asked = [
    [ "networking" "hostName" ] [ "networking" "firewall" "enable" ] [ "networking" "firewall" "allowedTCPPorts" ]
    [ "networking" "firewall" "allowedUDPPorts" ] [ "users" "mutableUsers" ] [ "virtualisation" "memorySize" ]
    [ "virtualisation" "cores" ] [ "virtualisation" "graphics" ] [ "system" "configurationRevision" ]
    [ "boot" "initrd" "systemd" "enable" ]
  ];
  # Only the outermost value is forced: sets may hold packages, or other things that throw by themselves.
  sets = [ [ "systemd" "services" ] [ "systemd" "sockets" ] [ "systemd" "timers" ] [ "users" "users" ] [ "users" "groups" ] ];
  throws = path: !(tryEval (let v = at path; in builtins.seq v true)).success;
  unread = listToAttrs (map
    (path: { name = builtins.concatStringsSep "." path; value = "throws when it is read"; })
    (filter throws (asked ++ sets)));

  # --- the desktop ---

  first = paths: convert: foldl' (found: path: if found == null then read convert path else found) null paths;
  anyYes = paths: builtins.any yes paths;
  # { name, where its enable option is or was, the unit that runs it }. Old names are kept: a renamed option reads as
  # the new one, and where there is only the old one it is the promise.
  displayManagers = [
    { name = "gdm"; paths = [ [ "services" "displayManager" "gdm" ] [ "services" "xserver" "displayManager" "gdm" ] ]; }
    { name = "sddm"; paths = [ [ "services" "displayManager" "sddm" ] [ "services" "xserver" "displayManager" "sddm" ] ]; }
    { name = "plasma-login-manager"; paths = [ [ "services" "displayManager" "plasma-login-manager" ] ]; }
    { name = "cosmic-greeter"; paths = [ [ "services" "displayManager" "cosmic-greeter" ] ]; }
    { name = "ly"; paths = [ [ "services" "displayManager" "ly" ] ]; }
    { name = "lemurs"; paths = [ [ "services" "displayManager" "lemurs" ] ]; }
    { name = "lightdm"; paths = [ [ "services" "xserver" "displayManager" "lightdm" ] [ "services" "displayManager" "lightdm" ] ]; }
    { name = "greetd"; paths = [ [ "services" "greetd" ] ]; }
  ];
  displayManager =
    let on = filter (manager: anyYes (map (path: path ++ [ "enable" ]) manager.paths)) displayManagers;
    in if on == [ ] then null else (builtins.head on).name;
  # { name, where it is or was enabled, the type of its session }. A null type: either.
  desktopKinds =
    let
      wm = name: { inherit name; type = "x11"; paths = [ [ "services" "xserver" "windowManager" name ] ]; };
      x11 = name: { inherit name; type = "x11"; paths = [ [ "services" "xserver" "desktopManager" name ] [ "services" "desktopManager" name ] ]; };
      wayland = name: option: { inherit name; type = "wayland"; paths = [ [ "programs" option ] [ "programs" "wayland" option ] ]; };
    in
    [
      { name = "gnome"; type = "wayland"; paths = [ [ "services" "desktopManager" "gnome" ] [ "services" "xserver" "desktopManager" "gnome" ] ]; }
      { name = "plasma"; type = "wayland"; paths = [ [ "services" "desktopManager" "plasma6" ] ]; }
      { name = "plasma"; type = null; paths = [ [ "services" "xserver" "desktopManager" "plasma5" ] [ "services" "desktopManager" "plasma5" ] ]; }
      { name = "cosmic"; type = "wayland"; paths = [ [ "services" "desktopManager" "cosmic" ] ]; }
      { name = "budgie"; type = null; paths = [ [ "services" "desktopManager" "budgie" ] [ "services" "xserver" "desktopManager" "budgie" ] ]; }
      (wayland "sway" "sway") (wayland "hyprland" "hyprland") (wayland "niri" "niri") (wayland "river" "river")
      (wayland "river" "river-classic") (wayland "labwc" "labwc") (wayland "wayfire" "wayfire") (wayland "miracle-wm" "miracle-wm")
      (wayland "cardboard" "cardboard") (wayland "mango" "mangowc")
      (x11 "xfce") (x11 "mate") (x11 "cinnamon") (x11 "pantheon") (x11 "lxqt") (x11 "deepin") (x11 "enlightenment") (x11 "lumina")
    ] ++ map wm [
      "i3" "openbox" "awesome" "bspwm" "xmonad" "dwm" "qtile" "herbstluftwm" "fluxbox" "icewm" "leftwm" "twm" "jwm" "cwm" "fvwm3" "ratpoison" "stumpwm" "spectrwm"
    ];
  desktops = unique (map (kind: { inherit (kind) name type; })
    (filter (kind: anyYes (map (path: path ++ [ "enable" ]) kind.paths)) desktopKinds));

  greetd = session: field: if displayManager == "greetd" then read text [ "services" "greetd" "settings" session field ] else null;
  isPerson = name: name != null && read bool [ "users" "users" name "isNormalUser" ] == true;
  # Who names a person as the greeter's user wants no greeter at all.
  greeterIsPerson = isPerson (greetd "default_session" "user");
  autoLogin = orElse
    (first [ [ "services" "displayManager" "autoLogin" "user" ] [ "services" "xserver" "displayManager" "autoLogin" "user" ] ] text)
    (orElse (greetd "initial_session" "user") (if greeterIsPerson then greetd "default_session" "user" else null));
  autoLoginOn = displayManager == "greetd"
    || anyYes [ [ "services" "displayManager" "autoLogin" "enable" ] [ "services" "xserver" "displayManager" "autoLogin" "enable" ] ];

  userUnitsOf = path:
    let
      of = kind: suffix:
        let set = attempt { } (mapAttrs (_: _: null) (attrs (at (path ++ [ kind ]))));
        in map (name: { name = "${name}.${suffix}"; value = userUnit (at (path ++ [ kind name ])); })
          (filter (name: attempt false (isAttrs (at (path ++ [ kind name ])) && true)) (attrNames set));
    in listToAttrs (concatLists [ (of "services" "service") (of "targets" "target") (of "sockets" "socket") (of "timers" "timer") (of "paths" "path") ]);
  # home-manager writes a unit as its file is written: { Unit; Service; Install }.
  userUnit = value:
    if value ? Unit || value ? Install || value ? Service then
      let
        list = v: if isString v then filter isString (builtins.split " +" v) else texts v;
        conditions = attempt { } (attrs (value.Unit or { }));
      in {
        enable = true;
        wanted_by = attempt [ ] (list (value.Install.WantedBy or [ ]) ++ list (value.Install.RequiredBy or [ ]));
        kind = attempt null (text (value.Service.Type or null));
        conditions = attempt [ ] (conditionsOf conditions);
        description = attempt null (text (conditions.Description or null));
      }
    else unit value;

  desktop =
    if displayManager == null && desktops == [ ] then null else {
      display_manager = displayManager;
      autologin_user = if autoLoginOn then autoLogin else null;
      # greetd's own sessions are commands, not files.
      command = if autoLoginOn then orElse (greetd "initial_session" "command") (if greeterIsPerson then greetd "default_session" "command" else null) else null;
      greeter_command = if greeterIsPerson then null else greetd "default_session" "command";
      default_session = first [ [ "services" "displayManager" "defaultSession" ] [ "services" "xserver" "displayManager" "defaultSession" ] ] text;
      sessions_dir = first [
        [ "services" "displayManager" "sessionData" "desktops" "outPath" ]
        [ "services" "xserver" "displayManager" "sessionData" "desktops" "outPath" ]
      ] text;
      inherit desktops;
      portal = yes [ "xdg" "portal" "enable" ];
      xwayland = read bool [ "programs" "xwayland" "enable" ];
      plymouth = yes [ "boot" "plymouth" "enable" ];
      units = userUnitsOf [ "systemd" "user" ];
      home_units = listToAttrs (map
        (name: { inherit name; value = userUnitsOf [ "home-manager" "users" name "systemd" "user" ]; })
        (attempt [ ] (attrNames (attrs (at [ "home-manager" "users" ])))));
    };

  # --- sound ---

  pipewire = name: [ "services" "pipewire" ] ++ name;
  # Without `audio.enable` it is there for screens; older releases had no such option.
  pipewireSounds = yes (pipewire [ "enable" ]) && orElse (read bool (pipewire [ "audio" "enable" ])) true;
  pulseaudio = anyYes [ [ "services" "pulseaudio" "enable" ] [ "hardware" "pulseaudio" "enable" ] ];
  scalar = value:
    if isString value || isInt value || builtins.isFloat value then unsafeDiscardStringContext (toString value)
    else if isBool value then (if value then "true" else "false") else null;
  contextProperties =
    let
      files = pipewire [ "extraConfig" "pipewire" ];
      of = name:
        let found = attempt { } (let v = at (files ++ [ name "context.properties" ]); in mapAttrs (_: _: null) (attrs v));
        in filterAttrs (v: v != null) (mapAttrs (key: _: attempt null (scalar (at (files ++ [ name "context.properties" key ])))) found);
    in foldl' (all: name: all // of name) { } (attempt [ ] (attrNames (attrs (at files))));
  audio =
    if !pipewireSounds && !pulseaudio then null else {
      pipewire = pipewireSounds;
      pipewire_pulse = pipewireSounds && yes (pipewire [ "pulse" "enable" ]);
      wireplumber = pipewireSounds && orElse (read bool (pipewire [ "wireplumber" "enable" ])) true;
      system_wide = yes (pipewire [ "systemWide" ])
        || anyYes [ [ "services" "pulseaudio" "systemWide" ] [ "hardware" "pulseaudio" "systemWide" ] ];
      inherit pulseaudio;
      rtkit = yes [ "security" "rtkit" "enable" ];
      alsa_persistence = yes [ "hardware" "alsa" "enablePersistence" ];
      properties = contextProperties;
    };
in
{
  inherit audio desktop;
  known = attempt false (isAttrs config && (config ? systemd || config ? networking || config ? users));
  host_name = let name = read text [ "networking" "hostName" ]; in if name == "" then null else name;
  units = listToAttrs (concatLists [
    (unitsOf "services" "service")
    (unitsOf "sockets" "socket")
    (unitsOf "timers" "timer")
    (unitsOf "targets" "target")
    (unitsOf "paths" "path")
  ]);
  inherit mounts unread;
  firewall = read bool [ "networking" "firewall" "enable" ];
  open_tcp = attempt [ ] (ports (at [ "networking" "firewall" "allowedTCPPorts" ]));
  open_udp = attempt [ ] (ports (at [ "networking" "firewall" "allowedUDPPorts" ]));
  service_ports = unique servicePorts;
  mutable_users = read bool [ "users" "mutableUsers" ];
  allow_no_password_login = read bool [ "users" "allowNoPasswordLogin" ];
  interfaces = attempt [ ] (attrNames (attrs (at [ "networking" "interfaces" ])));
  users = members [ "users" "users" ] user;
  groups = members [ "users" "groups" ] (group: attempt null (int (group.gid or null)));
  memory_mib = read int [ "virtualisation" "memorySize" ];
  cores = read int [ "virtualisation" "cores" ];
  disk_mib = read int [ "virtualisation" "diskSize" ];
  graphics = read bool [ "virtualisation" "graphics" ];
  revision = read text [ "system" "configurationRevision" ];
  systemd_stage_1 = read bool [ "boot" "initrd" "systemd" "enable" ];
  autologin_user = orElse (read text [ "services" "getty" "autologinUser" ])
    (if yes [ "services" "displayManager" "autoLogin" "enable" ]
     then read text [ "services" "displayManager" "autoLogin" "user" ] else null);
}
