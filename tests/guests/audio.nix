# The machines of the set `audio`: sound in a user's session, no desktop. The form is that of machines.nix.
{ mkGuest, packages }:
let
  inherit (packages) dist sw run;
  inherit (builtins) listToAttrs;

  guest = name: expect: description: {
    inherit name;
    value = {
      inherit expect;
      machine = mkGuest ({ inherit name; } // description);
    };
  };

  # As an installer writes it: somebody who may administer, and who is not in the group audio, as it is logind that
  # gives the devices to whom sits at the seat.
  alice = { isNormalUser = true; uid = 1000; extraGroups = [ "wheel" ]; initialPassword = "alice"; description = "Alice"; };

  # with CONFIG: a machine with PipeWire as the manual has it, and CONFIG laid over.
  pipewire = {
    services.pipewire = { enable = true; audio.enable = true; pulse.enable = true; alsa.enable = true; };
    security.rtkit.enable = true;
    users.users.alice = alice;
  };

  healthy = [
    # PipeWire, and nobody logs in.
    (guest "audio" { exit = 0; } { config = pipewire; })
    (guest "audio-autologin" { exit = 0; } {
      config = pipewire // { services = pipewire.services // { getty.autologinUser = "alice"; }; virtualisation.graphics = true; };
    })
    (guest "pulse" { exit = 0; } {
      config = { services.pulseaudio.enable = true; users.users.alice = alice; };
    })
  ];
in
listToAttrs healthy
