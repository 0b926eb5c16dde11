# The machine. Every option is described at https://search.nixos.org/options; after a change, `./vm` starts the machine
# in a VM and `nixbox try .#vm` checks that it still works.
{ ... }:
{
  networking.hostName = "server";

  # A web server. The firewall needs its port; that of SSH is opened by `services.openssh`.
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

  # Your user, by key only: without the line of ~/.ssh/id_ed25519.pub here, a real server admits no login.
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
      cores = 1;
      graphics = false; # the console is the terminal that starts it
    };
    # A password for the console of the VM.
    users.users.alice.initialPassword = "nixos";
  };

  # The release that this machine was installed with: programs keep the data formats of that release. Do not raise it
  # with nixpkgs.
  system.stateVersion = "26.05";
}
