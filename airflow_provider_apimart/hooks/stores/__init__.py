"""Where records are kept, for whoever pays or posts: Airflow's task state store, an object, a Variable."""
