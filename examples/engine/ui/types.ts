/** What the page reads of the API's objects. */

export interface Container {
  Id: string;
  Names: string[];
  Image: string;
  Command: string;
  State: string;
  Status: string;
  Ports: { IP?: string; PrivatePort: number; PublicPort?: number; Type: string }[];
  NetworkSettings: { Networks: Record<string, { NetworkID: string; IPAddress: string }> };
  Mounts: { Type: string; Name?: string; Source: string; Destination: string }[];
}

export interface ContainerDetails {
  Config: { Tty: boolean };
}

export interface Stats {
  read: string;
  cpu_stats: {
    cpu_usage: { total_usage: number };
    system_cpu_usage?: number;
    online_cpus?: number;
  };
  memory_stats: { usage?: number; limit?: number; stats?: Record<string, number> };
}

export interface Image {
  Id: string;
  RepoTags: string[] | null;
  Created: number;
  Size: number;
  SharedSize: number;
  Containers: number;
}

export interface ImageLayer {
  Id: string;
  Created: number;
  CreatedBy: string;
  Size: number;
  Comment: string;
}

export interface Network {
  Id: string;
  Name: string;
  Driver: string;
  Internal: boolean;
  IPAM: { Config: { Subnet?: string; Gateway?: string }[] | null };
}

export interface Volume {
  Name: string;
  Driver: string;
  Mountpoint: string;
  CreatedAt: string;
}

export interface Job {
  Id: string;
  Kind: string;
  Subject: string;
  State: string;
  ParentId: string;
  StartedAt: string;
  DurationMs: number;
  Error: string;
  Progress: { Message: string; Current: number; Total: number } | null;
}

export interface DaemonEvent {
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> };
  timeNano: number;
}

export interface Info {
  Name: string;
  ServerVersion: string;
  NCPU: number;
  MemTotal: number;
  OperatingSystem: string;
  KernelVersion: string;
}
