# Machines of NixOS's own modules, a few lines each, with what is expected of them:
#   modules  what makes it: a template's own configuration, or base.nix and more
#   exit     nixbox's exit code
#   fails    ids of the checks that fail
#   cause    words of the headline
#   boots    whether `tests/nixos/run` starts it: where KVM is, and packages can be had (default: true)
#   expects  part of what nixbox reads as expected of it (tests/nixpkgs.rs)
let
  template = name: [
    (../../flake-templates + "/${name}/configuration.nix")
    { nixpkgs.hostPlatform = "x86_64-linux"; }
  ];
  plain = settings: [ ./base.nix settings ];
  machine =
    modules: expected:
    {
      exit = 0;
      fails = [ ];
      cause = "";
      boots = true;
      expects = { };
    }
    // expected
    // {
      inherit modules;
    };
  evaluated = modules: expects: machine modules { boots = false; inherit expects; };

  oneshot = script: {
    wantedBy = [ "multi-user.target" ];
    serviceConfig.Type = "oneshot";
    inherit script;
  };
in
{
  # --- healthy ---
  minimal = machine (plain { }) { };
  networkd = machine (plain {
    networking.useNetworkd = true;
    networking.nftables.enable = true;
  }) { };
  scripted-stage-1 = machine (plain { boot.initrd.systemd.enable = false; }) { };
  bashless = machine (plain (
    { modulesPath, ... }:
    {
      imports = [ (modulesPath + "/profiles/bashless.nix") ];
    }
  )) { expects.nixos_init = true; };
  server = machine (template "server") { expects.service_ports = [ { port = 80; } ]; };
  audio = machine (template "audio") { expects.audio.pipewire = true; };
  sway = machine (template "sway") { expects.desktop.desktops = [ { name = "sway"; } ]; };
  gnome = machine (template "gnome") { expects.desktop.desktops = [ { name = "gnome"; } ]; };

  # --- broken ---
  unit-fails = machine (plain { systemd.services.migrate = oneshot "echo 'no such table: users' >&2; exit 1"; }) {
    exit = 1;
    fails = [ "services.failed-units" ];
    cause = "migrate.service";
  };
  port-taken = machine (plain {
    services.nginx = {
      enable = true;
      virtualHosts.site.locations."/".return = "200";
    };
    services.caddy = {
      enable = true;
      virtualHosts.":80".extraConfig = "respond ok";
    };
  }) {
    exit = 1;
    fails = [ "services.failed-units" ];
    cause = "80";
  };
  mount-missing = machine (plain {
    virtualisation.vmVariant.virtualisation.fileSystems."/data" = {
      device = "/dev/disk/by-label/data";
      fsType = "ext4";
    };
  }) {
    exit = 4;
    fails = [ "boot.emergency" ];
    cause = "data";
  };
  activation-fails = machine (plain { system.activationScripts.migrate = "echo 'cannot read the old state' >&2; false"; }) {
    exit = 1;
    fails = [ "boot.activation" ];
    cause = "migrate";
  };
  two-sound-servers = machine (plain {
    services.pipewire = {
      enable = true;
      pulse.enable = true;
    };
    services.pulseaudio.enable = true;
  }) {
    exit = 3;
    fails = [ "build.eval" ];
    cause = "PipeWire";
  };
  misspelt-option = machine (plain { services.nginxx.enable = true; }) {
    exit = 3;
    fails = [ "build.eval" ];
    cause = "services.nginxx";
  };
  unfree = machine (plain (
    { pkgs, ... }:
    {
      environment.systemPackages = [ pkgs.unrar ];
    }
  )) {
    exit = 3;
    fails = [ "build.eval" ];
    cause = "unrar";
  };
  missing-package = machine (plain (
    { pkgs, ... }:
    {
      environment.systemPackages = [ pkgs.firefoxx ];
    }
  )) {
    exit = 3;
    fails = [ "build.eval" ];
    cause = "firefoxx";
  };

  # --- options as people set them, evaluated only ---
  database = evaluated (plain {
    services.postgresql.enable = true;
    services.redis.servers."".enable = true;
  }) { };
  monitoring = evaluated (plain {
    services.prometheus = {
      enable = true;
      exporters.node.enable = true;
    };
    services.grafana = {
      enable = true;
      settings.security.secret_key = "x";
    };
  }) { };
  containers = evaluated (plain {
    virtualisation.podman.enable = true;
    virtualisation.docker.enable = true;
    virtualisation.oci-containers.containers.web.image = "docker.io/library/nginx";
  }) { };
  laptop = evaluated (plain {
    networking.networkmanager.enable = true;
    hardware.bluetooth.enable = true;
    services.printing.enable = true;
    services.tlp.enable = true;
    services.fwupd.enable = true;
    services.avahi.enable = true;
  }) { };
  router = evaluated (plain {
    networking.useNetworkd = true;
    networking.nftables.enable = true;
    services.dnsmasq.enable = true;
    networking.wireguard.interfaces.wg0 = {
      ips = [ "10.100.0.1/24" ];
      privateKeyFile = "/root/wireguard-keys/private";
    };
    networking.firewall.allowedUDPPorts = [ 51820 ];
  }) { open_udp = [ 51820 ]; };
  encrypted = evaluated (plain {
    boot.initrd.luks.devices.root.device = "/dev/disk/by-uuid/00000000-0000-0000-0000-000000000000";
    swapDevices = [ { device = "/dev/disk/by-label/swap"; } ];
    boot.supportedFilesystems = [ "btrfs" ];
  }) { };
  files = evaluated (plain {
    services.samba.enable = true;
    services.nfs.server.enable = true;
    services.syncthing.enable = true;
  }) { };
  remote = evaluated (plain {
    services.openssh = {
      enable = true;
      ports = [ 2222 ];
      settings.PasswordAuthentication = false;
    };
    services.tailscale.enable = true;
    services.fail2ban.enable = true;
  }) { service_ports = [ { port = 2222; } ]; };
  plasma = evaluated (template "plasma") { desktop.desktops = [ { name = "plasma"; } ]; };
  hyprland = evaluated (template "hyprland") { desktop.desktops = [ { name = "hyprland"; } ]; };
  xfce = evaluated (template "xfce") { desktop.desktops = [ { name = "xfce"; } ]; };
  niri = evaluated (plain {
    programs.niri.enable = true;
    services.displayManager.gdm.enable = true;
  }) { };
  homes = evaluated (plain {
    users.users.bob = {
      isNormalUser = true;
      linger = true;
    };
    systemd.user.services.sync = {
      wantedBy = [ "default.target" ];
      script = "exec sleep infinity";
    };
  }) { };
  specialised = evaluated (plain { specialisation.web.configuration.services.nginx.enable = true; }) { };
  immutable-users = evaluated (plain {
    services.userborn.enable = true;
    users.mutableUsers = false;
  }) { mutable_users = false; };
}
