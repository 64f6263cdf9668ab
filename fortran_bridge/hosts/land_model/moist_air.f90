! SPDX-License-Identifier: Apache-2.0
!> Thermodynamics of moist air.
module moist_air
   use constants, only: freezing_point, gas_constant_dry_air, molar_mass_ratio, wp
   implicit none
   private
   public :: saturation_humidity, saturation_pressure, vapour_pressure, specific_humidity, air_density

contains

   elemental real(wp) function saturation_pressure(temperature)
      !! Saturation vapour pressure over water, over ice below the freezing point [Pa].
      !!
      !! Magnus formula with the coefficients of the WMO guide (WMO-No. 8, 2018, annex 4.B).
      real(wp), intent(in) :: temperature
         !! [K]
      real(wp) :: a, b

      call magnus(temperature, a, b)
      saturation_pressure = 611.2_wp*exp(a*(temperature - freezing_point)/(b + temperature - freezing_point))
   end function saturation_pressure

   elemental subroutine saturation_humidity(temperature, pressure, humidity, slope)
      !! Specific humidity at saturation and its derivative.
      real(wp), intent(in) :: temperature
         !! [K]
      real(wp), intent(in) :: pressure
         !! [Pa]
      real(wp), intent(out) :: humidity
         !! [1]
      real(wp), intent(out) :: slope
         !! Derivative with respect to the temperature [K-1].
      real(wp) :: a, b, vapour, dry

      call magnus(temperature, a, b)
      vapour = saturation_pressure(temperature)
      dry = pressure - (1.0_wp - molar_mass_ratio)*vapour
      humidity = molar_mass_ratio*vapour/dry
      slope = humidity*pressure/dry*a*b/(b + temperature - freezing_point)**2
   end subroutine saturation_humidity

   elemental real(wp) function vapour_pressure(humidity, pressure)
      !! Vapour pressure of air of a given specific humidity [Pa].
      real(wp), intent(in) :: humidity
      real(wp), intent(in) :: pressure

      vapour_pressure = humidity*pressure/(molar_mass_ratio + (1.0_wp - molar_mass_ratio)*humidity)
   end function vapour_pressure

   elemental real(wp) function specific_humidity(vapour, pressure)
      !! Specific humidity of air of a given vapour pressure [1].
      real(wp), intent(in) :: vapour
      real(wp), intent(in) :: pressure

      specific_humidity = molar_mass_ratio*vapour/(pressure - (1.0_wp - molar_mass_ratio)*vapour)
   end function specific_humidity

   elemental real(wp) function air_density(temperature, pressure, humidity)
      !! Density of moist air [kg m-3].
      real(wp), intent(in) :: temperature
      real(wp), intent(in) :: pressure
      real(wp), intent(in) :: humidity
      real(wp) :: virtual_temperature

      virtual_temperature = temperature*(1.0_wp + (1.0_wp/molar_mass_ratio - 1.0_wp)*humidity)
      air_density = pressure/(gas_constant_dry_air*virtual_temperature)
   end function air_density

   elemental subroutine magnus(temperature, a, b)
      !! Coefficients of the Magnus formula over water or ice.
      real(wp), intent(in) :: temperature
      real(wp), intent(out) :: a
      real(wp), intent(out) :: b

      if (temperature >= freezing_point) then
         a = 17.62_wp
         b = 243.12_wp
      else
         a = 22.46_wp
         b = 272.62_wp
      end if
   end subroutine magnus
end module moist_air
