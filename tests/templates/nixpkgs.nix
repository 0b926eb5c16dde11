# Stands in for nixpkgs where that cannot be fetched: just enough of it to evaluate a template whole. A machine may set
# only the options that are on the list (options.json), with values of their types, and name only the packages on it.
let
  inherit (builtins)
    all
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    filter
    foldl'
    head
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isPath
    isString
    length
    map
    match
    tail
    ;
  list = builtins.fromJSON (builtins.readFile ./options.json);
  base = (import ../nixpkgs-stand-in/flake.nix).outputs { self = base; };

  recursiveUpdate =
    a: b:
    a
    // builtins.mapAttrs (
      name: value: if isAttrs (a.${name} or null) && isAttrs value then recursiveUpdate a.${name} value else value
    ) b;

  package =
    system: name: attributes:
    derivation {
      inherit name system;
      builder = "/bin/sh";
    }
    // attributes;
  packagesFor =
    system:
    builtins.mapAttrs (name: _: package system name { meta.mainProgram = name; }) list.packages
    // {
      stdenv.hostPlatform = {
        inherit system;
        isx86_64 = match "x86_64-.*" system != null;
      };
    };

  # What a type of the list holds, by the words that declare it.
  isPackage = value: (value.type or null) == "derivation";
  isText = value: isString value && value != "";
  isLine = value: isString value && match "[^\n]*" value != null;
  isPort = value: isInt value && value > 0 && value < 65536;
  # JSON and TOML alike: TOML has no null.
  isData =
    value:
    if isAttrs value then
      all isData (attrValues value)
    else if isList value then
      all isData value
    else
      isString value || isInt value || isBool value;
  each = holds: value: isList value && all holds value;
  orNull = holds: value: value == null || holds value;
  types = {
    mkEnableOption = isBool;
    "attrsOf (attrsOf json.type)" = value: isAttrs value && all isAttrs (attrValues value) && isData value;
    "attrsOf json.type" = value: isAttrs value && isData value;
    nonEmptyStr = isText;
    "options.nixpkgs.pkgs.type" = value: isAttrs value && value ? stdenv;
    "settingsFormat.type" = value: isAttrs value && isData value;
    "types.bool" = isBool;
    "types.either types.str types.attrs" = value: isString value || isAttrs value;
    "types.ints.positive" = value: isInt value && value > 0;
    "types.lines" = isString;
    "types.listOf types.package" = each isPackage;
    "types.listOf types.port" = each isPort;
    "types.listOf types.singleLineStr" = each isLine;
    "types.listOf types.str" = each isString;
    "types.nullOr (types.oneOf [ types.str types.int ])" = orNull (value: isString value || isInt value);
    "types.nullOr nonEmptyStr" = orNull isText;
    "types.nullOr types.bool" = orNull isBool;
    "types.nullOr types.str" = orNull isString;
    "types.passwdEntry types.str" = value: isString value && match "[^:\n]*" value != null;
    "types.str" = isString;
    "types.strMatching \"^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$\"" =
      value: isString value && match "|[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?" value != null;
  };

  # Each option by its name, split: "<name>" stands for any.
  known = map (name: {
    inherit name;
    path = filter isString (builtins.split "\\." name);
  }) (attrNames list.options);
  fits =
    path: pattern:
    path == [ ]
    || (
      pattern != [ ] && (head pattern == "<name>" || head pattern == head path) && fits (tail path) (tail pattern)
    );
  isOption = path: option: length path == length option.path && fits path option.path;
  isAbove = path: option: length path < length option.path && fits path option.path;
  vmVariant = [
    "virtualisation"
    "vmVariant"
  ];

  # The options that a set of settings sets, by their names on the list. Throws at what is not there. `variant` is where
  # they stand: in the virtual machine's, every option may be set again, and those of a virtual machine besides.
  optionsIn =
    variant: path: value:
    let
      here = variant ++ path;
      shown = concatStringsSep "." here;
      found = filter (option: isOption here option || isOption path option) known;
      above = filter (option: isAbove here option || isAbove path option) known;
      inherit (head found) name;
      inherit (list.options.${name}) type;
      below = variant: path: concatMap (name: optionsIn variant (path ++ [ name ]) value.${name}) (attrNames value);
    in
    if found != [ ] then
      if !(types ? ${type}) then
        throw "options.json: ${name}: no rule here for the type ${type}"
      else if !(types.${type} value) then
        throw "${shown} is no ${type}"
      else
        [ name ]
    else if path == vmVariant && variant == [ ] then
      below vmVariant [ ]
    else if isAttrs value && !(isPackage value) && (above != [ ] || path == [ ]) then
      below variant path
    else
      throw "${shown} is no option on the list (tests/templates/options.json)";

  nixosSystem =
    { modules }:
    let
      call =
        module:
        if isPath module then
          call (import module)
        else if isFunction module then
          module { inherit config lib pkgs; }
        else
          module;
      called = map call modules;
      settings = foldl' recursiveUpdate { } called;
      system = settings.nixpkgs.hostPlatform;
      pkgs = packagesFor system;
      variant = recursiveUpdate (removeAttrs settings [ "virtualisation" ]) settings.virtualisation.vmVariant;
      host = variant.virtualisation.host.pkgs or pkgs;
      # NixOS refuses a machine that cannot boot.
      boots = settings.fileSystems ? "/" && settings.boot.loader.systemd-boot.enable;
      built = {
        toplevel = if boots then package system "nixos-system" { } else throw "the machine cannot boot";
        vm = package host.stdenv.hostPlatform.system "nixos-vm" {
          meta.mainProgram = "run-${settings.networking.hostName}-vm";
        };
      };
      withBuild = set: recursiveUpdate set { system.build = built; };
      config = withBuild (recursiveUpdate settings { virtualisation.vmVariant = withBuild variant; });
    in
    {
      inherit config;
      # Each module by itself, so that what a later one overrides is looked at as well.
      optionsUsed = concatLists (map (optionsIn [ ] [ ]) called);
      extendModules = more: nixosSystem { modules = called ++ more.modules; };
    };

  lib = base.lib // {
    inherit nixosSystem recursiveUpdate;
  };
in
{
  inherit lib;
  legacyPackages = lib.genAttrs [
    "x86_64-linux"
    "aarch64-linux"
    "x86_64-darwin"
    "aarch64-darwin"
  ] packagesFor;
}
