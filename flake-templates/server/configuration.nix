# The machine. Every option is described at https://search.nixos.org/options; after a change, `./vm` shows the machine
# and `nixbox try` says whether it still works.
{ ... }:
{
  networking.hostName = "server";

  # A web server. An open port is written down beside what listens there; SSH opens its own.
  services.nginx = {
    enable = true;
    virtualHosts.localhost = {
      default = true;
      locations."/" = {
        return = "200 'hello from NixOS\\n'";
        extraConfig = "default_type text/plain;";
      };
    };
  };
  networking.firewall.allowedTCPPorts = [ 80 ];

  # You, by key only: put the line of ~/.ssh/id_ed25519.pub here, or nobody gets into a real server.
  users.users.alice = {
    isNormalUser = true;
    description = "Alice";
    extraGroups = [ "wheel" ]; # sudo
    openssh.authorizedKeys.keys = [ ];
  };
  services.openssh = {
    enable = true;
    settings = {
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
    };
  };

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
      cores = 1;
      graphics = false; # its console is the terminal that it is started from
    };
    # At the console of the virtual machine a password will do.
    users.users.alice.initialPassword = "nixos";
  };

  # The release that this machine began with: it says which format its data have, and stays when nixpkgs moves on.
  system.stateVersion = "26.05";
}
