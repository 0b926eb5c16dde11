# The machines of the set `audio`: sound in a user's session, no desktop. The form is that of machines.nix.
{ mkGuest, packages }:
let
  inherit (packages) dist sw run;

  guest = name: expect: description: {
    inherit name;
    value = {
      inherit expect;
      machine = mkGuest ({ inherit name; } // description);
    };
  };
in
builtins.listToAttrs [
]
