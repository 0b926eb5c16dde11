# The machines, each a few lines, with what nixbox is expected to say of it.
{ mkGuest, ... }:
let
  guest = name: expect: description: {
    inherit name;
    value = {
      inherit expect;
      machine = mkGuest ({ inherit name; } // description);
    };
  };
in
builtins.listToAttrs [
  # Healthy, and as small as can be: what boots, opens a shell and says READY=1 in the least time.
  (guest "minimal" { exit = 0; } { })
]
