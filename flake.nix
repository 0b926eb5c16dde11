{
  description = "Tells you, before nixos-rebuild switch, whether your NixOS machine will still work";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      forAllSystems = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});

      # What nixbox starts besides nix and the runner: QEMU for its tools (a runner brings its own emulator), and on
      # Linux the daemon that serves vsock.
      runtimeTools =
        pkgs: [ pkgs.qemu ] ++ lib.optionals pkgs.stdenv.hostPlatform.isLinux [ pkgs.vhost-device-vsock ];

      nixbox =
        pkgs:
        let
          manifest = (lib.importTOML ./Cargo.toml).package;
        in
        pkgs.rustPlatform.buildRustPackage {
          pname = manifest.name;
          inherit (manifest) version;
          # Nothing else, so that a word elsewhere rebuilds nothing.
          src = lib.fileset.toSource {
            root = ./.;
            fileset = lib.fileset.unions [
              ./Cargo.toml
              ./Cargo.lock
              ./src
              # Its units are held against those that nixbox brings.
              ./nix/guest.nix
              # nixbox init writes them.
              ./flake-templates
              # Its example is tested.
              ./README.md
              ./benches
              # Cargo.toml names them.
              ./tests
            ];
          };
          cargoLock.lockFile = ./Cargo.lock;
          nativeBuildInputs = [
            pkgs.makeWrapper
            pkgs.installShellFiles
          ];
          # Its hooks are tested.
          nativeCheckInputs = [ pkgs.git ];
          # The unit tests; the others boot machines, which a build may not.
          cargoTestFlags = [
            "--lib"
            "--bins"
          ];
          # Behind the caller's own: who brings another QEMU means it.
          postInstall =
            lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
              installShellCompletion --cmd nixbox \
                --bash <($out/bin/nixbox completions bash) \
                --fish <($out/bin/nixbox completions fish) \
                --zsh <($out/bin/nixbox completions zsh)
              $out/bin/nixbox man > nixbox.1
              installManPage nixbox.1
            ''
            + ''
              wrapProgram $out/bin/nixbox --suffix PATH : ${lib.makeBinPath (runtimeTools pkgs)}
            '';
          meta = {
            inherit (manifest) description;
            license = [
              lib.licenses.mit
              lib.licenses.asl20
            ];
            mainProgram = "nixbox";
            platforms = systems;
          };
        };
    in
    {
      packages = forAllSystems (pkgs: {
        default = nixbox pkgs;
      });

      apps = forAllSystems (pkgs: {
        default = {
          type = "app";
          program = lib.getExe self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          meta.description = "nixbox try, doctor and the rest";
        };
      });

      overlays.default = final: _: { nixbox = nixbox final; };

      # `nix flake init -t nixbox#gnome`; `nixbox init gnome` writes the same. tests/templates.rs composes them from
      # flake-templates/parts.
      templates =
        lib.mapAttrs
          (name: description: {
            inherit description;
            path = ./flake-templates + "/${name}";
            # nix 2.26 copies no file's executable bit.
            welcomeText = "In a git work tree nix sees tracked files only: `git add` these. Then `chmod +x vm; ./vm`.";
          })
          {
            gnome = "GNOME, a complete desktop";
            plasma = "KDE Plasma 6, a highly configurable desktop";
            hyprland = "Hyprland, a tiling compositor with animations";
            sway = "Sway, a keyboard-driven tiling compositor";
            xfce = "Xfce, a light desktop on X11";
            server = "nginx and SSH, without a desktop";
            audio = "PipeWire in full, without a desktop";
          }
        // {
          existing = {
            description = "the file for an existing flake";
            path = ./flake-templates/existing;
            welcomeText = "The head of vm.nix has the line that flake.nix needs.";
          };
          default = self.templates.gnome;
        };

      # A verdict as a derivation, for `nix flake check`, remote builders and Hydra:
      # checks.x86_64-linux.laptop = (nixbox.lib.check { nixosConfiguration = self.nixosConfigurations.laptop; }).check;
      lib.check =
        arguments:
        let
          # That of the VM's runner, which is not always the guest's.
          inherit (arguments.nixosConfiguration.config.system.build.vm) system;
        in
        import ./nix/check.nix {
          inherit (nixpkgs.legacyPackages.${system}) runCommand;
          nixbox = self.packages.${system}.default;
        } arguments;

      # Only for guests whose systemd is older than 256; all others need nothing of ours.
      nixosModules.guest = ./nix/guest.nix;

      checks = forAllSystems (pkgs: {
        # Its build runs the unit tests. All others boot machines: scripts/test.
        package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
      });

      devShells = forAllSystems (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.clippy
            pkgs.rustc
            pkgs.rustfmt
            pkgs.cargo-deny
            pkgs.cargo-machete
          ]
          ++ runtimeTools pkgs;
        };
      });

      formatter = forAllSystems (pkgs: pkgs.nixfmt-tree);
    };
}
