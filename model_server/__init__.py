"""The bundled service: tells NORMAL from PNEUMONIA on a chest radiograph. It exists to be watched."""

__version__ = "1.0.0"
SERVICE = "pneumonia-detector"
