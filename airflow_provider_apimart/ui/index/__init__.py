"""The gallery's index: what tasks have told of their generations, in a form that can be searched.

Workers have no database in Airflow 3, and a gallery that read every XCom would be slow at a thousand videos. So the API
server keeps a few tables of its own in Airflow's database. They are derived: everything in them can be read again from
XComs and manifests, nothing depends on them, and no money does. They outlive the XComs that they were read from.
"""
