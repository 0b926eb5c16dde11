{
  description = "A NixOS machine, and its virtual machine for Linux and macOS";

  # A release branch: it is mended, and nothing else in it changes. nix writes into flake.lock which state of it was
  # taken; keep that file in git too, and bring it up to date with `nix flake update`.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      name = "audio";

      # The machine for a kind of processor, with settings beside those of configuration.nix.
      machine =
        system: settings:
        lib.nixosSystem {
          modules = [
            ./configuration.nix
            { nixpkgs.hostPlatform = system; }
            settings
          ];
        };

      # The virtual machine for a host to start it from. A Mac runs Linux too, of its own kind of processor.
      vm =
        host:
        let
          guest = machine (builtins.replaceStrings [ "darwin" ] [ "linux" ] host) {
            # QEMU and the script that starts it are the host's.
            virtualisation.vmVariant.virtualisation.host.pkgs = nixpkgs.legacyPackages.${host};
          };
        in
        # With the configuration beside it: from there nixbox knows what the machine promises.
        guest.config.system.build.vm // { inherit (guest) config; };

      forAllHosts = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
    in
    {
      # What `nixos-rebuild switch --flake .#audio` makes of a computer.
      nixosConfigurations = {
        ${name} = machine "x86_64-linux" { };
        "${name}-aarch64" = machine "aarch64-linux" { };
      };

      # `nix build .#vm`, `nixbox try .#vm`: the one for the host at hand.
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
