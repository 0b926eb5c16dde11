# <head/>
{ ... }:
{
  networking.hostName = "@name@";

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

  # <disk/>

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

  # <release/>
}
