"""Callbacks for the frameworks that people train with. Each imports its framework when it is imported."""
