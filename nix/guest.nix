# For guests whose systemd is older than 256, which takes no units from credentials: the same units as
# src/guest/credentials.rs brings, in the configuration itself. On a real machine they do nothing: without the
# credential that nixbox passes to its VMs (systemd 250 or later imports it) the socket's condition does not hold.
{ lib, ... }:
let
  script = "/run/credentials/@system/nixbox.sh";
  unit = {
    DefaultDependencies = false;
    IgnoreOnIsolate = true;
    ConditionPathExists = [
      "!/etc/initrd-release"
      script
    ];
  };
in
{
  boot.initrd.availableKernelModules = [ "vmw_vsock_virtio_transport" ];
  boot.kernelModules = [ "dmi_sysfs" ];

  systemd.sockets.nixbox-shell = {
    description = "nixbox looks inside";
    wantedBy = [ "sysinit.target" ];
    unitConfig = unit;
    listenStreams = [
      "vsock::7100"
      "vsock::7101"
      "vsock::7102"
    ];
    socketConfig = {
      Accept = true;
      MaxConnections = 512;
    };
  };

  systemd.services."nixbox-shell@" = {
    description = "nixbox looks inside";
    unitConfig = unit // {
      CollectMode = "inactive-or-failed";
    };
    # Not the service's own PATH: it is for what is asked of the whole machine.
    environment.PATH = lib.mkForce "/run/wrappers/bin:/run/current-system/sw/bin:/usr/bin:/bin";
    environment.LC_ALL = "C";
    serviceConfig = {
      ExecStart = "-/bin/sh ${script}";
      StandardInput = "socket";
      StandardOutput = "socket";
      StandardError = "null";
      OOMScoreAdjust = -1000;
      KillSignal = "SIGKILL";
    };
  };
}
