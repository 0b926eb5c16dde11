# The virtual machine of a NixOS configuration in an existing flake, for each host that can start one. On Linux,
# `nixbox try .#NAME` needs none of this; it is for `nix run .#vm` and for macOS. Put this file beside flake.nix,
# `git add` it (nix sees tracked files only), and add one line to the outputs of flake.nix, with your machine's name:
#
#     packages = import ./vm.nix { inherit nixpkgs; machine = self.nixosConfigurations.laptop; };
#
# If there are packages already: `packages = nixpkgs.lib.recursiveUpdate { …yours… } (import ./vm.nix …);`
# Then: nixbox try .#vm, nixbox demo .#vm, nix run .#vm. Settings for the VM only go into the configuration, under
# `virtualisation.vmVariant`:
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
      # QEMU and the start script are built for the host, the guest as before. On a host of another architecture it is
      # emulated, slowly.
      guest = machine.extendModules {
        modules = [
          { virtualisation.vmVariant.virtualisation.host.pkgs = nixpkgs.legacyPackages.${host}; }
        ];
      };
    in
    {
      # With its configuration, in which nixbox reads what is expected of the machine.
      vm = guest.config.system.build.vm // {
        inherit (guest) config;
      };
    }
  )
