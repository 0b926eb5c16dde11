# The machine. Every option is described at https://search.nixos.org/options; after a change, `./vm` shows the machine
# and `nixbox try` says whether it still works.
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

  # Sound, also for programs that speak PulseAudio or ALSA; rtkit lets it run on time on a busy machine.
  security.rtkit.enable = true;
  services.pipewire = {
    enable = true;
    alsa.enable = true;
    pulse.enable = true;
  };

  # You. The password holds until the first `passwd`; everybody can read it here, so change it on a real computer.
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

  # The real computer's disk, which the virtual machine replaces. On that computer `nixos-generate-config
  # --show-hardware-config` prints what belongs here instead.
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

  # Of the virtual machine only.
  virtualisation.vmVariant = {
    virtualisation = {
      memorySize = 4096; # MiB
      cores = 2;
      # A graphics card that Wayland is content with; aarch64 has it by itself.
      qemu.options = lib.optionals pkgs.stdenv.hostPlatform.isx86_64 [ "-vga virtio" ];
    };
  };

  # The release that this machine began with: it says which format its data have, and stays when nixpkgs moves on.
  system.stateVersion = "26.05";
}
