"""More than one machine: attempts and measurements by the workers of a Dask cluster. Loaded only where one is used."""
