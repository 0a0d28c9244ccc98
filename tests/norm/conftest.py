import tensorflow as tf

# two devices, for what runs on replicas: before anything else starts TensorFlow
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
