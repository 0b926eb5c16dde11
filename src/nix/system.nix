# The machines of what is no nixosConfigurations, by name: { path } -> value -> { NAME = machine; }.
#
# `value` is what a file that is no flake gives (npins, niv), or a hive of colmena's, whose nodes are modules. `path` are
# the components of the attribute that is asked for: what lies there is a machine of that name, joined with dots.
{ path }:
given:
let
  inherit (builtins) concatStringsSep foldl' isAttrs isFunction mapAttrs removeAttrs;

  value = if isFunction given then given { } else given;
  name = concatStringsSep "." path;
  at = foldl'
    (found: name: if found != null && isAttrs found.is && found.is ? ${name} then { is = found.is.${name}; } else null)
    { is = value; } path;

  meta = value.meta or value.network or { };
  isHive = isAttrs value && !(value ? nodes) && isAttrs meta && (meta ? nixpkgs || meta ? nodeNixpkgs);
  isMachine = found: isAttrs found && (found ? config || found ? drvPath);

  # As colmena evaluates a node, but for the keys and targets of the deployment, which no VM has.
  node = name: module:
    let
      chosen = meta.nodeNixpkgs.${name} or meta.nixpkgs;
      pkgs = if isFunction chosen then chosen { } else if isAttrs chosen && chosen ? path then chosen else import chosen { };
      own = { lib, ... }: {
        options.deployment = lib.mkOption { type = lib.types.attrsOf lib.types.unspecified; default = { }; };
        config.networking.hostName = lib.mkDefault name;
      };
    in
    import (pkgs.path + "/nixos/lib/eval-config.nix") {
      system = pkgs.stdenv.hostPlatform.system;
      modules = [ own (value.defaults or { }) module ];
      specialArgs = { inherit name; nodes = machines; } // (meta.specialArgs or { }) // (meta.nodeSpecialArgs.${name} or { });
    };

  machines =
    if isHive then mapAttrs node (removeAttrs value [ "meta" "network" "defaults" ])
    else value.nixosConfigurations or value.nodes or value;
in
if at != null && isMachine at.is then { ${name} = at.is; } else machines
