# The machines and the templates over a nixpkgs that lies at a path, without a flake's inputs: nothing is fetched, and no
# tree is copied into the store (tests/nixpkgs.rs).
{
  path,
  source ? ../..,
}:
let
  nixpkgs = self // {
    outPath = path;
    lastModifiedDate = "19700101000000";
    shortRev = "0000000";
  };
  self = (import (path + "/flake.nix")).outputs { self = nixpkgs; };

  # What nixbox itself reads of what a target leads to.
  read = import (source + "/src/nix/machine.nix") {
    expectations = import (source + "/src/nix/expectations.nix");
  };
  # Asked for by name, so that what is wrong with it is nix's own error.
  whole = value: {
    inherit (value.config) warnings;
    toplevel = value.config.system.build.toplevel.drvPath;
    read = read value;
  };
  outputsOf =
    template:
    let
      outputs = (import (template + "/flake.nix")).outputs {
        self = outputs;
        inherit nixpkgs;
      };
    in
    outputs;
  all = import ./machines.nix;
in
rec {
  machines = builtins.mapAttrs (_: machine: nixpkgs.lib.nixosSystem { inherit (machine) modules; }) all;
  expected = builtins.mapAttrs (_: machine: builtins.removeAttrs machine [ "modules" ]) all;
  machine = name: whole machines.${name};
  # The very attribute that a template's script names.
  template = name: whole (outputsOf (source + "/flake-templates/${name}")).packages.x86_64-linux.vm;
}
