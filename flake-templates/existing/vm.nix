# The virtual machine of a NixOS configuration that a flake already has, for each host that can start one. On Linux,
# `nixbox try .#NAME` needs none of this; it is for `nix run .#vm` and for macOS. Put this file beside flake.nix, tell
# git of it (nix sees tracked files only), and add one line to the outputs of flake.nix, with your machine's name:
#
#     packages = import ./vm.nix { inherit nixpkgs; machine = self.nixosConfigurations.laptop; };
#
# Where there are packages already: `packages = nixpkgs.lib.recursiveUpdate { …yours… } (import ./vm.nix …);`
# Then: nixbox try .#vm, nixbox demo .#vm, nix run .#vm. What is to hold in the virtual machine only goes into the
# configuration, under `virtualisation.vmVariant`:
#
#     virtualisation.vmVariant.virtualisation = { memorySize = 4096; cores = 2; };
{ nixpkgs, machine }:
nixpkgs.lib.genAttrs
  [
    "x86_64-linux"
    "aarch64-linux"
    "x86_64-darwin"
    "aarch64-darwin"
  ]
  (
    host:
    let
      # QEMU and the script that starts it are the host's; the machine stays what it is. One of another kind of
      # processor is translated, slowly.
      guest = machine.extendModules {
        modules = [
          { virtualisation.vmVariant.virtualisation.host.pkgs = nixpkgs.legacyPackages.${host}; }
        ];
      };
    in
    {
      # With the configuration beside it: from there nixbox knows what the machine promises.
      vm = guest.config.system.build.vm // {
        inherit (guest) config;
      };
    }
  )
