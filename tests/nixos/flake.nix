{
  description = "Machines of NixOS's own modules, with the verdicts that nixbox is to give";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      here = import ./. { path = nixpkgs; };
    in
    {
      nixosConfigurations = here.machines;
      inherit (here) expected;
    };
}
