# What machine.nix answers, of many configurations in one evaluation:
# { arguments } -> nixosConfigurations -> { hosts = [ NAME ]; total = COUNT; members = [ { host, specialisation, … } ]; }
#
# Which match is what src/nix/filter.rs decides, too: both read the same expressions and count alike.
{ machine             # machine.nix
, expectations            # expectations.nix
, want ? "all"        # or: names
, systems ? false     # with the names: the systems, where they are known
, only ? null         # the one host to look at
, filters ? [ ]       # regular expressions, one of which has to match a whole name; none: all
, part ? 0            # of those, every parts-th from this one on
, parts ? 1
, vmOnly ? false
}:
value:
let
  inherit (builtins) any attrNames concatMap deepSeq elemAt filter genList length match tryEval;

  # `throw` and failed assertions are caught. What cannot be caught ends all of this, and each is asked alone.
  caught = fallback: v: let tried = tryEval (deepSeq v v); in if tried.success then tried.value else fallback;

  configOf = host: let found = value.${host}; in if found ? config then found.config else found;
  specialised = host: caught [ ] (attrNames ((configOf host).specialisation or { }));
  all = concatMap
    (host: map (specialisation: { inherit host specialisation; }) ([ null ] ++ specialised host))
    (if only == null then attrNames value else [ only ]);

  nameOf = member: member.host + (if member.specialisation == null then "" else "@${member.specialisation}");
  matching = filter (member: filters == [ ] || any (filter: match filter (nameOf member) != null) filters) all;
  total = length matching;
  # ⌈(total - part) / parts⌉
  share = if total <= part then 0 else (total - part + parts - 1) / parts;
  members = genList (index: elemAt matching (part + index * parts)) share;

  systemOf = member: caught null (
    let nixpkgs = (configOf member.host).nixpkgs or { }; in nixpkgs.hostPlatform.system or nixpkgs.system or null);
  answer = member: caught { failed = true; } (machine
    ({ inherit expectations vmOnly; name = member.host; } // (if member.specialisation == null then { } else { inherit (member) specialisation; }))
    value);
in
{
  hosts = attrNames value;
  # In all parts.
  inherit total;
  members = map
    (member: member // (
      if want == "all" then { answer = answer member; }
      else if systems then { system = systemOf member; }
      else { }))
    members;
}
