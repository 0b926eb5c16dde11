# All of a template, evaluated over the stand-in for nixpkgs, as data for tests/templates.rs.
{ template, source }:
let
  nixpkgs = import ./nixpkgs.nix;
  inherit (nixpkgs.lib) genAttrs nixosSystem;
  hosts = builtins.attrNames nixpkgs.legacyPackages;

  # What nixbox itself reads of what a target's attribute path leads to.
  read = import (source + "/src/nix/machine.nix") { expectations = import (source + "/src/nix/expectations.nix"); };

  # `existing` is a file for a flake that somebody has: here a short one.
  existing.outputs =
    { self, nixpkgs }:
    {
      nixosConfigurations.laptop = nixosSystem {
        modules = [
          (template + "/../gnome/configuration.nix")
          { nixpkgs.hostPlatform = "x86_64-linux"; }
        ];
      };
      packages = import (template + "/vm.nix") {
        inherit nixpkgs;
        machine = self.nixosConfigurations.laptop;
      };
    };

  flake = if builtins.pathExists (template + "/flake.nix") then import (template + "/flake.nix") else existing;
  outputs = flake.outputs {
    self = outputs;
    inherit nixpkgs;
  };
in
{
  input = flake.inputs.nixpkgs.url or null;
  lock = builtins.pathExists (template + "/flake.lock");
  configurations = builtins.mapAttrs (_: machine: {
    system = machine.config.nixpkgs.hostPlatform;
    inherit (machine.config.system) stateVersion;
    toplevel = machine.config.system.build.toplevel.drvPath;
    options = machine.optionsUsed;
  }) outputs.nixosConfigurations;
  vms = genAttrs hosts (
    host:
    let
      inherit (outputs.packages.${host}) vm;
    in
    {
      guest = vm.config.nixpkgs.hostPlatform;
      host = vm.system;
      app = outputs.apps.${host}.vm.program or null;
      drv = vm.drvPath;
      read = read vm;
    }
  );
}
