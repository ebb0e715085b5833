"""The hardware of a simulated machine, for ironic-python-agent: one disk, a loop device, and nothing of the host's.

Everything that is done to it is done by the agent's own code; only what there is, is said here.
"""
import os

from ironic_python_agent import hardware


class LabHardwareManager(hardware.GenericHardwareManager):
    HARDWARE_MANAGER_NAME = 'LabHardwareManager'
    HARDWARE_MANAGER_VERSION = '1'

    def settings(self, node):
        # What a step does is in force only after the next boot.
        priority = int(node['properties'].get('apply_settings_priority', 0))
        return {'step': 'apply_settings', 'priority': priority, 'interface': 'management', 'reboot_requested': True}

    def get_clean_steps(self, node, ports):
        return super().get_clean_steps(node, ports) + [self.settings(node)]

    def get_service_steps(self, node, ports):
        return super().get_service_steps(node, ports) + [self.settings(node)]

    def apply_settings(self, node, ports):
        return 'in force after a reboot'

    def evaluate_hardware_support(self):
        return hardware.HardwareSupport.SERVICE_PROVIDER

    def list_block_devices(self, include_partitions=False, all_serial_and_wwn=False):
        disk = os.environ['LAB_DISK']
        with open('/sys/class/block/%s/size' % os.path.basename(disk)) as sectors:
            size = int(sectors.read()) * 512
        return [hardware.BlockDevice(name=disk, model='loop', size=size, rotational=False, serial='LAB1')]

    def list_network_interfaces(self):
        # Of a veth the agent thinks that there is no card behind it.
        with open('/sys/class/net/eth0/address') as address:
            mac = address.read().strip()
        return [hardware.NetworkInterface('eth0', mac, ipv4_address=self.get_ipv4_addr('eth0'), has_carrier=True)]

    def get_os_install_device(self, permit_refresh=False):
        return os.environ['LAB_DISK']

    def get_skip_list_from_node(self, node, block_devices=None, just_raids=False):
        return None

    def get_bmc_address(self):
        return '0.0.0.0'

    def get_bmc_mac(self):
        return None

    def get_bmc_v6address(self):
        return '::/0'
