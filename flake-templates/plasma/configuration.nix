# The machine. Every option is described at https://search.nixos.org/options; after a change, `./vm` starts the machine
# in a VM and `nixbox try .#vm` checks that it still works.
{ lib, pkgs, ... }:
{
  networking.hostName = "plasma";

  # The login screen, itself on Wayland so that no X server is needed, and the desktop.
  services.displayManager.sddm = {
    enable = true;
    wayland.enable = true;
  };
  services.desktopManager.plasma6.enable = true;

  programs.firefox.enable = true;

  # Sound, also for PulseAudio and ALSA programs; rtkit gives it real-time priority, which a busy machine needs.
  security.rtkit.enable = true;
  services.pipewire = {
    enable = true;
    alsa.enable = true;
    pulse.enable = true;
  };

  # Your user. The password is valid until the first `passwd`; anyone can read it here: change it on a real computer.
  users.users.alice = {
    isNormalUser = true;
    description = "Alice";
    extraGroups = [
      "wheel" # sudo
      "networkmanager"
    ];
    initialPassword = "nixos";
  };
  networking.networkmanager.enable = true;

  # The disk of the real computer; the VM has its own. Replace this with what `nixos-generate-config
  # --show-hardware-config` prints on that computer.
  boot.loader.systemd-boot.enable = true;
  boot.loader.efi.canTouchEfiVariables = true;
  fileSystems."/" = {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };
  fileSystems."/boot" = {
    device = "/dev/disk/by-label/BOOT";
    fsType = "vfat";
  };

  # For the VM only.
  virtualisation.vmVariant = {
    virtualisation = {
      memorySize = 4096; # MiB
      cores = 2;
      # A graphics card that Wayland compositors work with; on aarch64 it is the default.
      qemu.options = lib.optionals pkgs.stdenv.hostPlatform.isx86_64 [ "-vga virtio" ];
    };
  };

  # The release that this machine was installed with: programs keep the data formats of that release. Do not raise it
  # with nixpkgs.
  system.stateVersion = "26.05";
}
