{
  description = "Stands in for nixpkgs where that cannot be fetched: just enough of it to evaluate ../../flake.nix";

  # Each name is nixpkgs' own, so what is misspelt in the flake, or not meant to be used there, is missing here.
  outputs =
    { self }:
    let
      package =
        system: pname: attributes:
        derivation {
          inherit system;
          name = pname;
          builder = "/bin/sh";
          # Evaluated whole, as strings may be that only a build would look at.
          text = builtins.toJSON attributes;
        }
        // attributes;
      platform = system: {
        inherit system;
        isLinux = builtins.match ".*-linux" system != null;
      };
      names = [
        "cargo"
        "cargo-deny"
        "cargo-machete"
        "clippy"
        "installShellFiles"
        "git"
        "makeWrapper"
        "nixfmt-tree"
        "qemu"
        "rustc"
        "rustfmt"
      ];
      packagesFor =
        system:
        self.lib.genAttrs (names ++ (if (platform system).isLinux then [ "vhost-device-vsock" ] else [ ])) (
          name: package system name { }
        )
        // {
          stdenv = {
            hostPlatform = platform system;
            buildPlatform.canExecute = other: other.system == system;
          };
          mkShell = arguments: package system "shell" arguments;
          runCommand =
            name: attributes: buildCommand:
            derivation (
              attributes
              // {
                inherit name system buildCommand;
                builder = "/bin/sh";
              }
            );
          rustPlatform.buildRustPackage = arguments: package system arguments.pname arguments;
        };
    in
    {
      lib = {
        genAttrs =
          list: f:
          builtins.listToAttrs (
            map (name: {
              inherit name;
              value = f name;
            }) list
          );
        inherit (builtins) mapAttrs;
        optionals = condition: list: if condition then list else [ ];
        optionalString = condition: text: if condition then text else "";
        importTOML = path: builtins.fromTOML (builtins.readFile path);
        makeBinPath = packages: builtins.concatStringsSep ":" (map (each: "${each}/bin") packages);
        getExe = each: "${each}/bin/${each.meta.mainProgram}";
        fileset = {
          # As text: as a path, all of the checkout with its target directory would be copied into the store.
          toSource =
            { root, fileset }: assert builtins.isPath root && builtins.all builtins.pathExists fileset; toString root;
          unions = files: files;
        };
        licenses = {
          mit.spdxId = "MIT";
          asl20.spdxId = "Apache-2.0";
        };
      };
      legacyPackages = self.lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ] packagesFor;
    };
}
