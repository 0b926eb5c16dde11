# Everything that one evaluation is asked for: { arguments } -> value -> { missing } or { runner, toplevel, expectations }.
#
# Each part says on nix's log that it begins, so that of an evaluation that fails it is known by which part it failed.
#
# `value` is `nixosConfigurations` when `name` is given, else what the target's attribute path leads to: a machine
# (something with `config`) or the runner's derivation itself.
{ expectations            # expectations.nix
, name ? null         # of the configuration
, specialisation ? null
, output ? "vm"       # or vmWithBootLoader, or vmWithDisko
, want ? "all"        # or "build", without the expectations: where reading those failed; or "toplevel", without a VM
, vmOnly ? false
}:
value:
let
  inherit (builtins) attrNames deepSeq filter foldl' isAttrs isString mapAttrs seq split trace tryEval;
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
  variantName = { vm = "vmVariant"; vmWithBootLoader = "vmVariantWithBootLoader"; vmWithDisko = "vmVariantWithDisko"; }.${output};
  variant = config.virtualisation.${variantName} or config;

  runner = if isMachine then drv (path ++ [ output ]) config.system.build.${output} else drv [ ] found;
  # A specialisation is switched to by way of its host's own system, which holds all of them.
  toplevel =
    if want == "toplevel" && !isMachine then drv [ ] found
    else if vmOnly || !isMachine then null
    else if outer ? system.build.toplevel then drv (own ++ build ++ [ "toplevel" ]) outer.system.build.toplevel
    else if !(config.system.build ? toplevel) then null
    else drv (path ++ [ "toplevel" ]) config.system.build.toplevel;
  # disko's VM leaves none of the real machine's disks out.
  real = if output == "vmWithDisko" then { } else config;
  expected = if isMachine then told (expectations variant real) else null;

  # An option that NixOS no longer has is there to say so where it is set, and throws where it is read: hidden, and
  # without all that an option is described by.
  options = (if specialisation != null && !isConfig then special else found).options or { };
  optionAt = name: foldl' (set: part: if isAttrs set && !(set ? _type) && set ? ${part} then set.${part} else null)
    options (filter isString (split "\\." name));
  isRemoved = name:
    let option = optionAt name; in
    isAttrs option && option._type or null == "option" && option.visible or true == false && !(option ? description) && !(option ? default);
  told = expected: expected // {
    unread = mapAttrs (name: why: if (tryEval (isRemoved name)).value == true then "was removed from this NixOS" else why) expected.unread;
  };

  # What cannot be read is no failure of the machine. Without the host's own system, on the other hand, all is over.
  caught = v: let tried = tryEval (deepSeq v v); in if tried.success then tried.value else { failed = true; };
  missing = kind: names: { missing = { inherit kind names; }; };
in
if name != null && !(value ? ${name}) then missing "configuration" (attrNames value)
else if specialisation != null && !(outer ? specialisation && outer.specialisation ? ${specialisation})
then missing "specialisation" (attrNames (outer.specialisation or { }))
else if want != "toplevel" && isMachine && !(config.system.build ? ${output}) then missing "output" (attrNames config.system.build)
else if !isMachine && !(isAttrs found && found ? drvPath) then missing "derivation" (if isAttrs found then attrNames found else [ ])
else
  let
    part = name: v: trace "nixbox: ${name}" (deepSeq v v);
    vm = part "runner" runner;
    own = part "toplevel" toplevel;
    read = part "expectations" (caught expected);
    parts = { runner = vm; toplevel = own; };
  in
  if want == "toplevel" then seq own { toplevel = own; }
  # In this order, whatever the order in which JSON is written: what fails in both is told of the VM.
  else seq vm (seq own (if want == "build" then parts else seq read (parts // { expectations = read; })))
