// SPDX-License-Identifier: Apache-2.0

package busapi

const head = `<node>
 <interface name="org.freedesktop.DBus.Introspectable">
  <method name="Introspect">
   <arg type="s" name="xml_data" direction="out"/>
  </method>
 </interface>
 <interface name="org.freedesktop.DBus.Peer">
  <method name="Ping"/>
  <method name="GetMachineId">
   <arg type="s" name="machine_uuid" direction="out"/>
  </method>
 </interface>
 <interface name="org.freedesktop.DBus.Properties">
  <method name="Get">
   <arg type="s" name="interface_name" direction="in"/>
   <arg type="s" name="property_name" direction="in"/>
   <arg type="v" name="value" direction="out"/>
  </method>
  <method name="GetAll">
   <arg type="s" name="interface_name" direction="in"/>
   <arg type="a{sv}" name="properties" direction="out"/>
  </method>
  <method name="Set">
   <arg type="s" name="interface_name" direction="in"/>
   <arg type="s" name="property_name" direction="in"/>
   <arg type="v" name="value" direction="in"/>
  </method>
 </interface>
`

// What the two kinds of objects say of themselves.
const (
	vrrpXML = head + ` <interface name="org.keepalived.Vrrp1.Vrrp">
  <method name="PrintData"/>
  <method name="PrintStats"/>
  <method name="PrintStatsClear"/>
  <method name="ReloadConfig"/>
  <signal name="VrrpStarted"/>
  <signal name="VrrpReloaded"/>
  <signal name="VrrpStopped"/>
 </interface>
</node>
`
	instanceXML = head + ` <interface name="org.keepalived.Vrrp1.Instance">
  <method name="SendGarp"/>
  <signal name="VrrpStatusChange">
   <arg type="u" name="status"/>
  </signal>
  <property type="s" name="Name" access="read"/>
  <property type="(us)" name="State" access="read"/>
 </interface>
</node>
`
)
