"""Users' paths as places in storage, and what lies beside a landed video."""
