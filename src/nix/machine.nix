# Everything that one evaluation is asked for: { arguments } -> value -> { missing } or { runner, toplevel, expectations }.
#
# `value` is `nixosConfigurations` when `name` is given, else what the target's attribute path leads to: a machine
# (something with `config`) or the runner's derivation itself.
{ expectations            # expectations.nix
, name ? null         # of the configuration
, specialisation ? null
, output ? "vm"       # or vmWithBootLoader
, want ? "all"        # or one of runner, toplevel, expectations: where asking for all of them failed
, vmOnly ? false
}:
value:
let
  inherit (builtins) attrNames deepSeq isAttrs tryEval;
  found = if name == null then value else value.${name};
  outer = if found ? config then found.config else found;

  # In NixOS a specialisation's `configuration` is an evaluated `config`; elsewhere it may be a machine.
  special = outer.specialisation.${specialisation}.configuration;
  isConfig = special ? system.build || !(special ? config);
  config = if specialisation == null then outer else if isConfig then special else special.config;
  own = if found ? config then [ "config" ] else [ ];
  build = [ "system" "build" ];
  path = own
    ++ (if specialisation == null then [ ]
        else [ "specialisation" specialisation "configuration" ] ++ (if isConfig then [ ] else [ "config" ]))
    ++ build;

  # Not `outPath`: as JSON, a set with that is its path alone.
  drv = attr: d: { inherit attr; drv = d.drvPath; out = d.outPath or null; };
  isMachine = (found ? config || specialisation != null) && config ? system.build;

  # The variant is what boots; a configuration without one (not made by NixOS's modules) speaks for itself.
  variantName = if output == "vm" then "vmVariant" else "vmVariantWithBootLoader";
  variant = config.virtualisation.${variantName} or config;

  runner = if isMachine then drv (path ++ [ output ]) config.system.build.${output} else drv [ ] found;
  # A specialisation is switched to by way of its host's own system, which holds all of them.
  toplevel =
    if vmOnly || !isMachine then null
    else if outer ? system.build.toplevel then drv (own ++ build ++ [ "toplevel" ]) outer.system.build.toplevel
    else if !(config.system.build ? toplevel) then null
    else drv (path ++ [ "toplevel" ]) config.system.build.toplevel;
  expected = if isMachine then expectations variant config else null;

  # `throw` and failed assertions can be caught, though not their text: whoever reads `failed` asks again for that alone.
  caught = v: let tried = tryEval (deepSeq v v); in if tried.success then tried.value else { failed = true; };
  missing = kind: names: { missing = { inherit kind names; }; };
in
if name != null && !(value ? ${name}) then missing "configuration" (attrNames value)
else if specialisation != null && !(outer ? specialisation && outer.specialisation ? ${specialisation})
then missing "specialisation" (attrNames (outer.specialisation or { }))
else if isMachine && !(config.system.build ? ${output}) then missing "output" (attrNames config.system.build)
else if !isMachine && !(isAttrs found && found ? drvPath) then missing "derivation" (if isAttrs found then attrNames found else [ ])
else if want == "runner" then { inherit runner; }
else if want == "toplevel" then { inherit toplevel; }
else if want == "expectations" then { expectations = expected; }
else { inherit runner; toplevel = caught toplevel; expectations = caught expected; }
