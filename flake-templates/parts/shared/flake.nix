{
  description = "A NixOS machine, and its virtual machine for Linux and macOS";

  # A release branch, which only gets fixes. flake.lock pins the commit that is used: keep that file in git too, and
  # update it with `nix flake update`.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      name = "@name@";

      # The machine for a system, with settings in addition to those of configuration.nix.
      machine =
        system: settings:
        lib.nixosSystem {
          modules = [
            ./configuration.nix
            { nixpkgs.hostPlatform = system; }
            settings
          ];
        };

      # The virtual machine for a host to start. On a Mac the guest is Linux, of the same architecture.
      vm =
        host:
        let
          guest = machine (builtins.replaceStrings [ "darwin" ] [ "linux" ] host) {
            # QEMU and the start script are built for the host.
            virtualisation.vmVariant.virtualisation.host.pkgs = nixpkgs.legacyPackages.${host};
          };
        in
        # With its configuration, in which nixbox reads what is expected of the machine.
        guest.config.system.build.vm // { inherit (guest) config; };

      forAllHosts = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
    in
    {
      # For a real computer: `nixos-rebuild switch --flake .#@name@`.
      nixosConfigurations = {
        ${name} = machine "x86_64-linux" { };
        "${name}-aarch64" = machine "aarch64-linux" { };
      };

      # `nix build .#vm`, `nixbox try .#vm`: each host has its own.
      packages = forAllHosts (host: {
        vm = vm host;
      });

      # `nix run .#vm`
      apps = forAllHosts (host: {
        vm = {
          type = "app";
          program = lib.getExe self.packages.${host}.vm;
          meta.description = "Starts the machine ${name}";
        };
      });
    };
}
